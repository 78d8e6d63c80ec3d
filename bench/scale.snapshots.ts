/** A log of very many snapshots of empty volumes, written by the log itself, without forcing it. */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { nodeEnv, toHex } from '../src/core/index.ts';
import {
  directoryStore,
  memoryStore,
  ObjectError,
  type ObjectStore,
} from '../src/objects/index.ts';
import { plainSealer, Repository, sealedObjects } from '../src/store/index.ts';
import { CommitLog } from '../src/store/log.ts';
import { NO_INDEX_CHANGE } from '../src/store/log-entry.ts';

const CHUNK_BYTES = 64 * 1024;
const VOLUMES = 100;
const env = nodeEnv();

/** Fills `folder` with a repository of `count` snapshots. */
export async function generateSnapshots(folder: string, count: number): Promise<void> {
  await using objects = await directoryStore(env.files, folder, env.random);
  await Repository.init(env, objects);
  const log = new CommitLog(sealedObjects(unforced(folder), plainSealer), env.random);
  let parent: string | undefined;
  for (let at = 0; at < count; at++) {
    const id = randomHex(16);
    const snapshot = {
      ...{ id, volume: `volume-${at % VOLUMES}`, time: new Date(1e12 + at * 6e5).toISOString() },
      ...{ sizeBytes: 2 ** 40, chunkBytes: CHUNK_BYTES, digest: randomHex(32), source: 'full' },
      ...{ root: { record: randomHex(32), ordinal: at % 50 }, origin: 'ab'.repeat(32), parent },
      ...{ readBytes: 2 ** 30 + at, changedBytes: 2 ** 24 + at, storedBytes: 2 ** 22 + at },
      ...{ unreadable: [], tags: at % 10 === 0 ? ['weekly'] : [], held: false },
    };
    parent = id;
    await log.append(async ({ generation }) => ({
      ...{ type: 'snapshot', snapshot, index: NO_INDEX_CHANGE, generation },
    }));
  }
}

/** Files as the directory has them; the log's own listing is skipped: nobody else writes. */
function unforced(folder: string): ObjectStore {
  const checkpoints = memoryStore('checkpoints');
  return {
    ...checkpoints,
    async putIfAbsent(key, bytes) {
      if (key.startsWith('checkpoints/')) await checkpoints.putIfAbsent(key, new Uint8Array(0));
      const path = join(folder, key);
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, bytes, { flag: 'wx' });
    },
    async get(key) {
      const path = join(folder, key);
      if (existsSync(path)) return readFileSync(path);
      throw new ObjectError('OBJECT_NOT_FOUND', key, { hint: 'It was not written yet.' });
    },
    async remove(key) {
      await checkpoints.remove(key);
      rmSync(join(folder, key));
    },
  };
}

function randomHex(lengthBytes: number): string {
  const bytes = new Uint8Array(lengthBytes);
  env.random.fill(bytes);
  return toHex(bytes);
}
