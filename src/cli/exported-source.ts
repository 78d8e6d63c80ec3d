/** Epochs of a volume whose export runs: each cut is a moment of it, and tells what changed. */
import { type Env, type Extent, ExtentSet } from '../core/index.ts';
import type { Snapshot } from '../store/index.ts';
import { TrackError } from '../track/index.ts';
import { type RunningExport, runningExportSource } from '../transfer/export/index.ts';
import {
  bindingOf,
  type CutEpoch,
  consumerOf,
  type EpochSource,
  type Held,
  sinceOf,
} from '../transfer/replicate/index.ts';

/** Changed ranges that are held at a time; with more of them all is compared. */
const RANGES_MAX = 1_000_000;
/** What is read and sent around a changed block: the block. */
const ALIGN_BYTES = 4096;

export function exportedSource(env: Env, running: RunningExport, name: string): EpochSource {
  return {
    sizeBytes: running.sizeBytes,
    async cut(held): Promise<CutEpoch | undefined> {
      let mark: string | undefined;
      const source = runningExportSource(env, {
        ...{ running, consumer: consumerOf(held, name), alignBytes: ALIGN_BYTES },
        onCut: (named) => {
          mark = named;
        },
      });
      const since = sinceOf(held) as Snapshot | undefined;
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
      const cut: Omit<CutEpoch, 'changed'> = {
        ...{ device: view, wallMs: env.clock.wallMs(), mark },
        acknowledged: (now: Held) =>
          end({ kind: 'committed', snapshot: bindingOf(now) as Snapshot }),
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
