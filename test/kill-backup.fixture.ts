/** For kill-backup.long.ts: one backup as a process of its own, which tells how far it is. */
import { writeSync } from 'node:fs';
import { nodeEnv } from '../src/core/index.ts';
import { openFile } from '../src/device/index.ts';
import { directoryStore } from '../src/objects/index.ts';
import { Repository } from '../src/store/index.ts';
import { backup } from '../src/transfer/backup/index.ts';

const [repositoryPath = '', imagePath = '', packBytes = ''] = process.argv.slice(2);
/** One thread: fewer frames are under way, and packs are sealed throughout the run. */
const env = { ...nodeEnv(), workers: { ...nodeEnv().workers, parallelism: 1 } };

/** At once: a pipe's buffer would still hold it when the signal comes. */
function tell(line: string): void {
  writeSync(1, `${line}\n`);
}

const objects = await directoryStore(env.files, repositoryPath, env.random);
await using repository = await Repository.open(env, objects);
await using device = await openFile(env.files, imagePath, { readOnly: true });
let steps = 0;
tell('step 0');
const { snapshot } = await backup(env, repository, device, {
  volume: 'disk',
  origin: 'test',
  changeSource: 'full',
  packTargetBytes: Number(packBytes),
  onProgress: () => tell(`step ${++steps}`),
});
tell(`done ${snapshot.id}`);
