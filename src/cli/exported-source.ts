/** Epochs of a volume whose export runs: each cut is a moment of it, and tells what changed. */
import { type Env, type Extent, ExtentSet, toHex } from '../core/index.ts';
import type { Snapshot } from '../store/index.ts';
import { TrackError } from '../track/index.ts';
import { type RunningExport, runningExportSource } from '../transfer/export/index.ts';
import type { CutEpoch, EpochSource, Held } from '../transfer/replicate/index.ts';

/** Changed ranges that are held at a time; with more of them all is compared. */
const RANGES_MAX = 1_000_000;
/** What is read and sent around a changed block: the block. */
const ALIGN_BYTES = 4096;

export function exportedSource(env: Env, running: RunningExport, name: string): EpochSource {
  return {
    sizeBytes: running.sizeBytes,
    async cut(held): Promise<CutEpoch | undefined> {
      const consumer = `provider:${held.replica}:${name}`;
      const source = runningExportSource(env, { running, consumer, alignBytes: ALIGN_BYTES });
      const since = held.epoch === 0 ? undefined : standIn(held);
      const question = { volume: name, device: undefined as never, since, signal: undefined };
      const answer = await source.changes(question);
      const view = 'view' in answer ? answer.view : undefined;
      const { finish } = answer;
      if (view === undefined || finish === undefined) {
        const why = 'why' in answer ? answer.why : 'it gives no moment';
        throw new TrackError('TRACK_CANNOT_SAY', `${running.volume}: ${why}`, {
          hint: 'See whether its export still runs.',
        });
      }
      let isOver = false;
      const end = async (outcome: Parameters<typeof finish>[0]) => {
        if (isOver) return;
        isOver = true;
        await finish(outcome);
      };
      const cut = {
        ...{ device: view, wallMs: env.clock.wallMs() },
        acknowledged: (now: Held) => end({ kind: 'committed', snapshot: standIn(now) }),
        [Symbol.asyncDispose]: () => end({ kind: 'failed' }).catch(() => undefined),
      };
      if (answer.kind !== 'changes') return { ...cut, changed: 'compare' };
      const changed = await collected(answer.changed);
      if (changed === undefined) return { ...cut, changed: 'compare' };
      if (changed.count === 0) {
        await end({ kind: 'failed' });
        return undefined;
      }
      return { ...cut, changed, changedBytes: changed.totalBytes };
    },
  };
}

/** What the export's cursor is bound to: an epoch of a replica, in the place of a snapshot. */
function standIn({ replica, epoch }: Held): Snapshot {
  return { id: `${replica}:${epoch}`, digest: toHex(new Uint8Array(32)) } as Snapshot;
}

async function collected(
  ranges: AsyncIterable<Extent> | Iterable<Extent>,
): Promise<ExtentSet | undefined> {
  const all = new ExtentSet();
  for await (const { offsetBytes, lengthBytes } of ranges) {
    all.add(offsetBytes, lengthBytes);
    if (all.count > RANGES_MAX) return undefined;
  }
  return all;
}
