/** A persistent dirty bitmap inside a qcow2 image that no program has open. */
import { FerryError } from '../core/index.ts';
import type { Device } from '../device/index.ts';
import {
  dirtyRuns,
  looksLikeQcow2,
  type Qcow2Bitmap,
  readQcow2Bitmaps,
  readQcow2Header,
} from '../fs/index.ts';
import type { ChangeSource } from './change-source.ts';
import { askKeptBitmap, type BitmapMemory, type BitmapState } from './kept-bitmap.ts';
import { DIRTY_RUNS_MAX } from './limits.ts';
import type { Forgotten, SourceMemory } from './source-memory.ts';

/** The bitmap that is used if nobody names one. */
export const BITMAP_NAME_DEFAULT = 'ferry';

export type Qcow2BitmapOptions = {
  /** The image itself, not what its guest sees; borrowed. */
  readonly file: Device;
  /** Tells one image file from another, for example its device and inode. */
  readonly identity: string;
  readonly bitmap?: string | undefined;
  readonly memory: SourceMemory<BitmapMemory>;
};

export function qcow2BitmapSource(options: Qcow2BitmapOptions): ChangeSource {
  return {
    name: 'qemu',
    changes: (question) => askKeptBitmap(question, options.memory, () => stateOf(options)),
  };
}

async function stateOf(options: Qcow2BitmapOptions): Promise<BitmapState | Forgotten> {
  const { file, identity, bitmap: name = BITMAP_NAME_DEFAULT } = options;
  try {
    if (!(await looksLikeQcow2(file))) {
      return { reason: 'absent', why: `${file.name} is no qcow2 image` };
    }
    const header = await readQcow2Header(file);
    if (header.hasStaleBitmaps) {
      const why = `a program that does not know bitmaps has written to ${file.name}`;
      return { reason: 'behind-its-back', why };
    }
    const bitmaps = await readQcow2Bitmaps(file, header);
    const bitmap = bitmaps.find((each) => each.name === name);
    const what = `bitmap ${name} of ${file.name}`;
    if (bitmap === undefined) return { reason: 'absent', why: `there is no ${what}` };
    const doubt = doubtOf(what, bitmap);
    if (doubt !== undefined) return doubt;
    const dirty: { offsetBytes: number; lengthBytes: number }[] = [];
    for await (const run of dirtyRuns(file, header, bitmap)) {
      if (dirty.length === DIRTY_RUNS_MAX) {
        return { reason: 'fell-behind', why: `${what} has more than ${DIRTY_RUNS_MAX} ranges` };
      }
      dirty.push(run);
    }
    const { granularityBytes } = bitmap;
    return { what, identity, granularityBytes, sizeBytes: header.active.sizeBytes, dirty };
  } catch (error) {
    if (!(error instanceof FerryError)) throw error;
    return { reason: 'lost', why: error.message };
  }
}

function doubtOf(what: string, bitmap: Qcow2Bitmap): Forgotten | undefined {
  if (bitmap.isInUse) {
    const why = `${what} is in use, or was when its program ended: it misses what was written`;
    return { reason: 'lost', why };
  }
  if (!bitmap.isAuto) return { reason: 'untold', why: `${what} is disabled: it records nothing` };
  if (!bitmap.hasUnknownData) return undefined;
  return { reason: 'unsupported', why: `${what} has data of a kind that is not known here` };
}
