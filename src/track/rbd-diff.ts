/** What `rbd diff --format json` printed: extents of objects, far larger than what changed. */
import type { Extent } from '../core/index.ts';
import type { ChangeSource } from './change-source.ts';
import { DIRTY_RUNS_MAX } from './limits.ts';
import {
  extentOf,
  type Listed,
  type ListedOptions,
  listedSource,
  lost,
  tooMany,
} from './listed-changes.ts';
import type { Forgotten } from './source-memory.ts';

export function rbdDiffSource(options: ListedOptions): ChangeSource {
  return listedSource(options, parseRbdDiff);
}

function parseRbdDiff(text: string): Listed | Forgotten {
  let rows: unknown;
  try {
    rows = JSON.parse(text);
  } catch {
    return lost('it is not JSON, or not all of it');
  }
  if (!Array.isArray(rows)) return lost('it is no list of extents');
  if (rows.length > DIRTY_RUNS_MAX) return tooMany();
  const extents: Extent[] = [];
  for (const row of rows) {
    const { offset, length } = Object(row);
    const extent = extentOf(offset, length, 1);
    if (extent === undefined) return lost(`an extent of ${length} bytes at ${offset}`);
    extents.push(extent);
  }
  return { extents, unitBytes: 1 };
}
