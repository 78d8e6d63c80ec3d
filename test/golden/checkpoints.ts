/** Golden checkpoints: what they say, and a log under a fixed seed that leaves them behind. */
import { createHash } from 'node:crypto';
import { memoryStore, type ObjectStore } from '../../src/objects/index.ts';
import { Repository, type Snapshot } from '../../src/store/index.ts';
import { goldenEnv, openGolden } from './golden.ts';

export const CHECKPOINT_PASSWORD = 'golden password: Kenwort für alle';

/** The newest one stands on the one before. */
export const CHECKPOINTS = [128, 192];

const noise = (seed: string, lengthBytes: number) =>
  createHash('shake256', { outputLength: lengthBytes }).update(seed).digest('hex');

/** Every field that a snapshot may have, in turns; names and words beyond ASCII. */
function snapshotOf(at: number): Snapshot {
  return {
    id: noise(`id ${at}`, 16),
    volume: ['disk', 'Größe', 'a'.repeat(128)][at % 3]!,
    time: new Date(Date.UTC(2024, 0, 1, at)).toISOString(),
    sizeBytes: at % 5 === 0 ? Number.MAX_SAFE_INTEGER - at : at * 1000,
    chunkBytes: 4096 << (at % 9),
    root: at % 4 === 0 ? undefined : { record: noise(`root ${at}`, 32), ordinal: at * 7 },
    digest: noise(`digest ${at}`, 32),
    parent: at % 3 === 0 ? undefined : noise(`id ${at - 3}`, 16),
    source: ['full', 'checksum', 'ferry:dirty'][at % 3]!,
    origin: noise(`origin ${at % 3}`, 32),
    readBytes: at * 2 ** 20,
    changedBytes: at * 300,
    storedBytes: at,
    unreadable: at % 10 === 7 ? [{ offsetBytes: at * 512, lengthBytes: 512 }] : [],
    tags: at % 6 === 1 ? ['näher', 'weekly'] : [],
    held: at % 11 === 3,
    ...(at % 13 === 5 && { copyOf: noise(`copy ${at}`, 16) }),
  };
}

/** The objects that a reader of the newest checkpoint needs, and what it must find. */
export async function writeCheckpoints(isEncrypted: boolean): Promise<{
  readonly objects: ObjectStore;
  readonly snapshots: readonly Snapshot[];
}> {
  const env = goldenEnv(`checkpoints ${isEncrypted}`);
  const all = memoryStore('checkpoints');
  const kdf = { logN: 10, r: 8, p: 1 };
  const key = isEncrypted && { key: { password: CHECKPOINT_PASSWORD, kdf } };
  await Repository.init(env, all, { ...key });
  const repository = await openGolden(env, all);
  for (let at = 1; at <= CHECKPOINTS.at(-1)!; at++) await appendEntry(repository, at);
  const objects = memoryStore('kept');
  for await (const each of all.list('')) {
    if (each.key.startsWith('log/')) continue;
    await objects.putIfAbsent(each.key, await all.get(each.key, 2 ** 24));
  }
  return { objects, snapshots: repository.snapshots() };
}

/** Some forget one that the checkpoint before has, some change one. */
async function appendEntry(repository: Repository, at: number): Promise<void> {
  const [oldest, second] = repository.snapshots().filter(({ held }) => !held);
  if (at % 8 === 7) return repository.forget([oldest!]);
  if (at % 8 === 4) return repository.tag([second!], { added: [`tag${at}`] });
  await repository.log.append(async ({ generation }) => ({
    type: 'snapshot',
    snapshot: snapshotOf(at),
    index: { packs: [], packsDropped: [], segments: [], segmentsDropped: [] },
    generation,
  }));
}
