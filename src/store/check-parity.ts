/** Checks the parity of packs: whether it is there, and on demand whether it is whole. */
import { hasCode } from '../core/index.ts';
import type { CheckRun } from './check.ts';
import { protectedPacks } from './parity.ts';
import { checkParity, parityKey } from './parity-file.ts';

export type ParityWanted = {
  /** Packs that the log names. */
  readonly named: ReadonlySet<string>;
  /** Those of which every byte is to be read. */
  readonly wanted: ReadonlySet<string>;
};

/** Answers how many packs lack parity that they should have. */
export async function checkParities(
  run: CheckRun,
  { named, wanted }: ParityWanted,
): Promise<number> {
  const { objects, log } = run.repository;
  let protectedCount = 0;
  for await (const packId of protectedPacks(objects)) {
    if (!named.has(packId)) continue; // Garbage collection removes it.
    protectedCount++;
    if (!wanted.has(packId)) continue;
    const key = parityKey(packId);
    await run.part(key, async () => {
      try {
        run.progress(await checkParity(objects, packId));
      } catch (error) {
        // Garbage collection takes parity away before the pack.
        if (hasCode(error, 'OBJECT_NOT_FOUND')) return;
        run.damagedParity.add(packId);
        throw error;
      }
    });
  }
  return log.state.parityPercent === 0 ? 0 : named.size - protectedCount;
}
