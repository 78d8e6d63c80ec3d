/** What `rbd diff --format json` printed: extents of objects, far larger than what changed. */
import { type Env, type Extent, ExtentSet, FerryError, readStateFile } from '../core/index.ts';
import { type ChangeSource, cannotSay } from './change-source.ts';
import { DIRTY_RUNS_MAX } from './limits.ts';
import { nameDoubt } from './named-for.ts';
import type { Forgotten } from './source-memory.ts';

/** A million extents of some sixty characters each. */
const FILE_BYTES_MAX = 64 * 1024 * 1024;

export type RbdDiffOptions = { readonly env: Env; readonly path: string };

/**
 * Which snapshot it counts from is the word of whoever made it: the file's name ends in `-`, the
 * snapshot's id or its first digits, and an extension.
 */
export function rbdDiffSource({ env, path }: RbdDiffOptions): ChangeSource {
  return {
    name: 'snapshot',
    async changes({ since, device }) {
      if (since === undefined) return cannotSay('snapshot', 'first', 'there is no snapshot yet');
      const digits = /-([0-9a-f]+)(?:\.[^./]*)?$/.exec(path)?.[1] ?? '';
      const doubt = nameDoubt(path, digits, since);
      if (doubt !== undefined) return cannotSay('snapshot', doubt.reason, doubt.why);
      let told: readonly Extent[] | Forgotten;
      try {
        const bytes = await readStateFile(env, path, FILE_BYTES_MAX);
        if (bytes === undefined) return cannotSay('snapshot', 'absent', `${path} is not there`);
        told = parseRbdDiff(new TextDecoder().decode(bytes), path);
      } catch (error) {
        if (!(error instanceof FerryError)) throw error;
        return cannotSay('snapshot', 'failed', error.message);
      }
      if ('reason' in told) return cannotSay('snapshot', told.reason, told.why);
      const end = told.at(-1);
      const endBytes = end === undefined ? 0 : end.offsetBytes + end.lengthBytes;
      if (endBytes > device.sizeBytes || since.sizeBytes !== device.sizeBytes) {
        const why = `${path} goes to ${endBytes}, ${device.name} has ${device.sizeBytes} bytes now`;
        return cannotSay('snapshot', 'resized', why);
      }
      return {
        kind: 'changes',
        source: 'snapshot',
        precision: 'superset',
        changed: told,
        reason: `${path}, which is named for ${since.volume}@${since.id.slice(0, 8)}`,
        finish: async () => {},
      };
    },
  };
}

/** Ascending and joined, whatever the order in the text. */
export function parseRbdDiff(text: string, path: string): readonly Extent[] | Forgotten {
  const lost = (what: string): Forgotten => ({ reason: 'lost', why: `${path}: ${what}` });
  let rows: unknown;
  try {
    rows = JSON.parse(text);
  } catch {
    return lost('it is not JSON, or not all of it');
  }
  if (!Array.isArray(rows)) return lost('it is no list of extents');
  if (rows.length > DIRTY_RUNS_MAX) {
    return { reason: 'fell-behind', why: `${path} has more than ${DIRTY_RUNS_MAX} extents` };
  }
  const extents: Extent[] = [];
  for (const row of rows) {
    const { offset, length } = Object(row);
    const isRange = Number.isSafeInteger(offset) && Number.isSafeInteger(length);
    if (!isRange || offset < 0 || length < 0 || !Number.isSafeInteger(offset + length)) {
      return lost(`an extent of ${length} bytes at ${offset}`);
    }
    extents.push({ offsetBytes: offset, lengthBytes: length });
  }
  // In order, so that each is added at the end: anywhere else it would cost as much as all.
  return [...new ExtentSet(extents.sort((a, b) => a.offsetBytes - b.offsetBytes))];
}
