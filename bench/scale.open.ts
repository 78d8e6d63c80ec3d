/** Opens a repository with its index and looks a thousand ids up: `scale.open.ts DIRECTORY`. */
import { nodeEnv } from '../src/core/index.ts';
import { directoryStore } from '../src/objects/index.ts';
import { Repository } from '../src/store/index.ts';

const LOOKUPS = 1000;
const env = nodeEnv();
const [folder] = process.argv.slice(2) as [string];

await using repository = await Repository.open(
  env,
  await directoryStore(env.files, folder, env.random),
);
const index = await repository.index();
const id = new Uint8Array(32);
let found = 0;
for (let lookup = 0; lookup < LOOKUPS; lookup++) {
  env.random.fill(id);
  // A checksum beside the prefix: what a backup asks for each chunk that it reads.
  if ((await index.find(id, 1)) !== undefined) found++;
}
if (index.recordCount === 0 || found > 0) throw new Error('the index is not what was made');
