/** A dirty bitmap that an NBD server exports beside the data (`qemu:dirty-bitmap:NAME`). */
import { type Extent, ExtentSet, FerryError } from '../core/index.ts';
import type { NbdDevice } from '../nbd/index.ts';
import type { Snapshot } from '../store/index.ts';
import { type ChangeSource, cannotSay } from './change-source.ts';
import { DIRTY_RUNS_MAX } from './limits.ts';
import { nameDoubt } from './named-for.ts';
import type { Forgotten } from './source-memory.ts';

const STATUS_DIRTY = 1;

/** The context to ask the server for. */
export function bitmapContext(name: string): string {
  return `qemu:dirty-bitmap:${name}`;
}

export type NbdBitmapOptions = {
  /** Opened with the context; borrowed. */
  readonly device: NbdDevice;
  readonly bitmap: string;
};

/**
 * Whoever exports the bitmap says with its name which snapshot it counts from: it ends in that
 * snapshot's id, or the first digits of it. Nothing else of it can be verified over NBD: neither
 * when it was made nor whether it records still.
 */
export function nbdBitmapSource({ device, bitmap }: NbdBitmapOptions): ChangeSource {
  return {
    name: 'qemu',
    async changes({ since }) {
      const what = `bitmap ${bitmap} of ${device.name}`;
      const doubt = doubtOf(device, bitmap, what, since);
      if (doubt !== undefined) return cannotSay('qemu', doubt.reason, doubt.why);
      let dirty: Extent[] | undefined;
      try {
        dirty = await dirtyOf(device, bitmapContext(bitmap));
      } catch (error) {
        if (!(error instanceof FerryError)) throw error;
        return cannotSay('qemu', 'failed', `${what}: ${error.message}`);
      }
      if (dirty === undefined) {
        const why = `${what} has more than ${DIRTY_RUNS_MAX} ranges`;
        return cannotSay('qemu', 'fell-behind', why);
      }
      return {
        kind: 'changes',
        source: 'qemu',
        precision: 'exact',
        changed: dirty,
        toldNow: () => dirtyOf(device, bitmapContext(bitmap)),
        reason: `${what}, which is named for ${since!.volume}@${since!.id.slice(0, 8)}`,
        finish: async () => {},
      };
    },
  };
}

function doubtOf(
  device: NbdDevice,
  bitmap: string,
  what: string,
  since: Snapshot | undefined,
): Forgotten | undefined {
  if (!device.contexts.includes(bitmapContext(bitmap))) {
    return { reason: 'absent', why: `the server does not export ${what}` };
  }
  if (since === undefined) return { reason: 'first', why: 'there is no snapshot yet' };
  if (since.sizeBytes !== device.sizeBytes) {
    const sizes = `${since.sizeBytes} bytes, and has ${device.sizeBytes} now`;
    return { reason: 'resized', why: `${device.name} had ${sizes}` };
  }
  return nameDoubt(what, /-([0-9a-f]+)$/.exec(bitmap)?.[1] ?? '', since);
}

/** Ascending, joined; undefined if there are too many. */
export async function dirtyOf(device: NbdDevice, context: string): Promise<Extent[] | undefined> {
  const dirty = new ExtentSet();
  for (let at = 0; at < device.sizeBytes; ) {
    for (const { lengthBytes, flags } of await device.status(context, device.sizeBytes - at, at)) {
      const length = Math.min(lengthBytes, device.sizeBytes - at);
      if ((flags & STATUS_DIRTY) !== 0) dirty.add(at, length);
      at += length;
    }
    if (dirty.count > DIRTY_RUNS_MAX) return undefined;
  }
  return [...dirty];
}
