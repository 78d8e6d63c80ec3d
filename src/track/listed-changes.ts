/** Changes that another program listed in a file, named for the snapshot they count from. */
import { type Env, type Extent, ExtentSet, FerryError, readStateFile } from '../core/index.ts';
import { type ChangeSource, cannotSay } from './change-source.ts';
import { DIRTY_RUNS_MAX } from './limits.ts';
import { nameDoubt } from './named-for.ts';
import type { Forgotten } from './source-memory.ts';

/** A million extents of some sixty characters each. */
const FILE_BYTES_MAX = 64 * 1024 * 1024;

export type Listed = {
  /** In any order; at most DIRTY_RUNS_MAX. */
  readonly extents: readonly Extent[];
  /** What it was counted in: the last unit may pass the end of the volume. */
  readonly unitBytes: number;
};

export type ListedOptions = { readonly env: Env; readonly path: string };

/** `parse` throws nothing: what is no such list, or not all of one, is `lost`. */
export function listedSource(
  { env, path }: ListedOptions,
  parse: (text: string) => Listed | Forgotten,
): ChangeSource {
  return {
    name: 'snapshot',
    async changes({ since, device }) {
      if (since === undefined) return cannotSay('snapshot', 'first', 'there is no snapshot yet');
      const digits = /-([0-9a-f]+)(?:\.[^./]*)?$/.exec(path)?.[1] ?? '';
      const doubt = nameDoubt(path, digits, since);
      if (doubt !== undefined) return cannotSay('snapshot', doubt.reason, doubt.why);
      let told: Listed | Forgotten;
      try {
        const bytes = await readStateFile(env, path, FILE_BYTES_MAX);
        if (bytes === undefined) return cannotSay('snapshot', 'absent', `${path} is not there`);
        told = parse(new TextDecoder().decode(bytes));
      } catch (error) {
        if (!(error instanceof FerryError)) throw error;
        return cannotSay('snapshot', 'failed', error.message);
      }
      if ('reason' in told) return cannotSay('snapshot', told.reason, `${path}: ${told.why}`);
      const { sizeBytes } = device;
      const changed = inOrder(told.extents);
      const end = changed.at(-1);
      const endBytes = end === undefined ? 0 : end.offsetBytes + end.lengthBytes;
      const endMax = Math.ceil(sizeBytes / told.unitBytes) * told.unitBytes;
      if (endBytes > endMax || since.sizeBytes !== sizeBytes) {
        const why = `${path} goes to ${endBytes}, ${device.name} has ${sizeBytes} bytes now`;
        return cannotSay('snapshot', 'resized', why);
      }
      return {
        kind: 'changes',
        source: 'snapshot',
        precision: 'superset',
        changed: changed.map((extent) => inside(extent, sizeBytes)),
        reason: `${path}, which is named for ${since.volume}@${since.id.slice(0, 8)}`,
        finish: async () => {},
      };
    },
  };
}

/** Joined; each is added at the end, as anywhere else it would cost as much as all. */
function inOrder(extents: readonly Extent[]): Extent[] {
  return [...new ExtentSet(extents.toSorted((a, b) => a.offsetBytes - b.offsetBytes))];
}

function inside({ offsetBytes, lengthBytes }: Extent, sizeBytes: number): Extent {
  return { offsetBytes, lengthBytes: Math.min(lengthBytes, sizeBytes - offsetBytes) };
}

export function lost(why: string): Forgotten {
  return { reason: 'lost', why };
}

export function tooMany(): Forgotten {
  return { reason: 'fell-behind', why: `it has more than ${DIRTY_RUNS_MAX} extents` };
}

/** An extent of an untrusted list, in units; undefined if it is none. */
export function extentOf(offset: number, length: number, unitBytes: number): Extent | undefined {
  const [offsetBytes, lengthBytes] = [offset * unitBytes, length * unitBytes];
  const isRange = Number.isSafeInteger(offset) && Number.isSafeInteger(length);
  if (!isRange || offset < 0 || length < 0) return undefined;
  return Number.isSafeInteger(offsetBytes + lengthBytes) ? { offsetBytes, lengthBytes } : undefined;
}
