/** Parity beside packs: goes with them, and is made for those that lack it. */
import type { Collection } from './gc.ts';
import { protectedPacks, protectPacks, unprotectedPacks } from './parity.ts';
import { parityKey } from './parity-file.ts';

/** Parity that is there before the log is read: that of packs which no state names is garbage. */
export async function listedParity({ parts }: Collection): Promise<readonly string[]> {
  const packs: string[] = [];
  for await (const pack of protectedPacks(parts.objects)) packs.push(pack);
  return packs;
}

/** The log was read after the listing; parity is made only for packs that it names. */
export async function sweepParity(run: Collection, listed: readonly string[]): Promise<void> {
  const named = run.parts.sync.named(run.parts.log.state);
  const orphans = listed.filter((pack) => !named.has(pack));
  await run.removeObjects(orphans.map(parityKey));
}

/** What backups did not come to do, and packs that were just rewritten. */
export async function protectNamed(run: Collection): Promise<void> {
  const { log, objects, sync } = run.parts;
  const { parityPercent: percent, condemned } = log.state;
  if (percent === 0) return;
  await run.toNewest();
  const packs = [...sync.named(log.state)].filter((pack) => !condemned.has(pack));
  const lacking = await unprotectedPacks(objects, packs);
  const onProgress = ({ bytes }: { readonly bytes: number }) => run.progress('protecting', bytes);
  const { signal } = run.options;
  const { made, damaged } = await protectPacks(objects, lacking, { percent, onProgress, signal });
  run.report.protectedPacks = made;
  run.report.unprotectedPacks = damaged.length;
}
