/** The dirty bitmaps that Blockferry keeps in a running QEMU, through QMP. */
import { FerryError } from '../core/index.ts';
import { type ChangeSource, cannotSay, type Finish } from './change-source.ts';
import { DIRTY_RUNS_MAX } from './limits.ts';
import { bitmapContext, dirtyOf } from './nbd-bitmap.ts';
import type { QemuMoment } from './qemu-moment.ts';
import type { SourceMemory } from './source-memory.ts';

/** Which bitmap began when the newest snapshot's moment was. */
export type QemuMemory = { readonly bitmap: string; readonly sizeBytes: number };

export function parseQemuMemory(value: unknown): QemuMemory | undefined {
  const { bitmap, sizeBytes } = Object(value);
  if (typeof bitmap !== 'string' || !Number.isSafeInteger(sizeBytes)) return undefined;
  return { bitmap, sizeBytes };
}

export type QemuBitmapOptions = {
  /** Borrowed. The question's device must be its device, which a commit ends. */
  readonly moment: QemuMoment;
  readonly memory: SourceMemory<QemuMemory>;
};

export function qemuBitmapSource({ moment, memory }: QemuBitmapOptions): ChangeSource {
  return {
    name: 'qemu',
    async changes({ since }) {
      const kept = await memory.recall(since);
      const before = 'value' in kept ? kept.value.bitmap : kept.old?.bitmap;
      const view = moment.device;
      const { sizeBytes } = view;
      const finish: Finish = async (outcome) => {
        if (outcome.kind === 'failed') return;
        const known = moment.frozen.some(({ name }) => name === before);
        // Remembered first: a bitmap too many is harmless, one that is gone is not.
        await memory.remember(outcome.snapshot, { bitmap: moment.bitmap, sizeBytes });
        await moment.commit(known ? before : undefined);
      };
      if ('reason' in kept) return cannotSay('qemu', kept.reason, kept.why, { view, finish });
      const what = `bitmap ${kept.value.bitmap} of ${moment.device.name}`;
      const frozen = moment.frozen.find(({ name }) => name === kept.value.bitmap);
      if (frozen === undefined) {
        const why = `${what} is gone: QEMU was started anew, or somebody removed it`;
        return cannotSay('qemu', 'lost', why, { view, finish });
      }
      if (!frozen.isConsistent) {
        const why = `${what} is inconsistent: QEMU did not end cleanly`;
        return cannotSay('qemu', 'lost', why, { view, finish });
      }
      if (kept.value.sizeBytes !== sizeBytes) {
        const why = `the disk had ${kept.value.sizeBytes} bytes, and has ${sizeBytes} now`;
        return cannotSay('qemu', 'resized', why, { view, finish });
      }
      try {
        const changed = await dirtyOf(moment.device, bitmapContext(frozen.name));
        if (changed !== undefined) {
          return {
            kind: 'changes',
            source: 'qemu',
            precision: 'exact',
            changed,
            view,
            reason: `${frozen.name}: written since ${since!.volume}@${since!.id.slice(0, 8)}`,
            finish,
          };
        }
      } catch (error) {
        if (!(error instanceof FerryError)) throw error;
        return cannotSay('qemu', 'failed', `${what}: ${error.message}`, { view, finish });
      }
      const why = `${what} has more than ${DIRTY_RUNS_MAX} ranges`;
      return cannotSay('qemu', 'fell-behind', why, { view, finish });
    },
  };
}
