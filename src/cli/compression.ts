/** `--compression`: how what is new is stored. */
import type { Compression } from '../codec/index.ts';
import { type OptionSpec, value } from './spec.ts';

/** Beyond, zstd takes seconds and hundreds of MiB for a percent. */
const LEVEL_MAX = 19;

export const compressionOption: OptionSpec<Compression | undefined> = value(
  'HOW',
  'how what is new is stored: auto, lz4, zstd[:LEVEL] or none (no patches either)',
  'auto',
  compressionOf,
);

/** Undefined for the default: zstd, at a level that keeps up with disks. */
export function compressionOf(text: string): Compression | undefined {
  const [name, level, ...more] = text.split(':');
  if (more.length === 0 && name === 'zstd' && level !== undefined) return zstdAt(level, text);
  if (level === undefined) {
    if (name === 'auto' || name === 'zstd') return undefined;
    if (name === 'lz4') return { algorithm: 'lz4' };
    if (name === 'none') return { algorithm: 'raw' };
  }
  throw new Error(`expected auto, lz4, zstd, zstd:1 to zstd:${LEVEL_MAX} or none, not '${text}'`);
}

function zstdAt(written: string, text: string): Compression {
  const level = Number(written);
  if (/^\d+$/.test(written) && level >= 1 && level <= LEVEL_MAX)
    return { algorithm: 'zstd', level };
  throw new Error(`expected a level from 1 to ${LEVEL_MAX}, not '${text}'`);
}
