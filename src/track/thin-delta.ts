/** What `thin_delta` printed of two thin volumes of LVM: the blocks of the pool that differ. */
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

const SECTOR_BYTES = 512;
/** In sectors: 64 KiB to 1 GiB are what a pool can have (thin_metadata_size). */
const BLOCK_SECTORS = { min: 128, max: 2_097_152 };

/** One tag and the blanks before it. There is no text, no comment and no other namespace. */
const TAG = /\s*<(\/?)([a-z_]+)((?:\s+[a-z_]+="[^"<>]*")*)\s*(\/?)>/y;
const DECLARATION = /^\s*<\?xml[^<>]*\?>/;
const DIFFERENT = ['different', 'left_only', 'right_only'];

export function thinDeltaSource(options: ListedOptions): ChangeSource {
  return listedSource(options, parseThinDelta);
}

/** Also the form of `--verbose`, where the ranges lie inside. */
function parseThinDelta(text: string): Listed | Forgotten {
  const tag = new RegExp(TAG);
  tag.lastIndex = DECLARATION.exec(text)?.[0].length ?? 0;
  const open: string[] = [];
  const extents: Extent[] = [];
  let unitBytes: number | undefined;
  let isCompared = false;
  for (;;) {
    const found = tag.exec(text);
    if (found === null) return lost('it is no output of thin_delta, or not all of it');
    const [, slash, name = '', attributes = '', empty] = found;
    if (slash === '/') {
      if (open.pop() !== name) return lost(`</${name}> ends what was not begun`);
      if (open.length === 0) break;
      continue;
    }
    const place = [...open, name].join('/');
    if (place === 'superblock') {
      const sectors = numberOf(attributes, 'data_block_size');
      if (sectors < BLOCK_SECTORS.min || sectors > BLOCK_SECTORS.max) {
        return lost(`blocks of ${sectors} sectors`);
      }
      unitBytes = sectors * SECTOR_BYTES;
    } else if (place === 'superblock/diff') {
      if (isCompared) return lost('it compares more than two volumes');
      isCompared = true;
    } else {
      const kind = /^superblock\/diff\/([a-z_]+)(?:\/range)?$/.exec(place)?.[1];
      const isChange = DIFFERENT.includes(kind ?? '');
      if (unitBytes === undefined || (!isChange && kind !== 'same')) return lost(`<${place}>`);
      const isRange = name === 'range' || attributes !== '';
      if (isChange && isRange) {
        if (extents.length === DIRTY_RUNS_MAX) return tooMany();
        const [begin, length] = [numberOf(attributes, 'begin'), numberOf(attributes, 'length')];
        const extent = extentOf(begin, length, unitBytes);
        if (extent === undefined) return lost(`${length} blocks at ${begin}`);
        extents.push(extent);
      }
    }
    if (empty === '') open.push(name);
  }
  const isWhole = text.slice(tag.lastIndex).trim() === '';
  if (unitBytes === undefined || !isCompared || !isWhole) return lost('it compares nothing');
  return { extents, unitBytes };
}

/** NaN if it is not there, or no number. */
function numberOf(attributes: string, name: string): number {
  const digits = new RegExp(`\\s${name}="(\\d{1,16})"`).exec(attributes)?.[1];
  return digits === undefined ? Number.NaN : Number(digits);
}
