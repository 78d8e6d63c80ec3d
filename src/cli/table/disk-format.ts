/** The option that says what a file is that is read as a disk. */
import type { DiskFormat } from '../../transfer/index.ts';
import { choice } from '../spec.ts';

/** Written out: every command loads this file, and need not load what is behind it. */
const diskFormats = ['auto', 'raw', 'qcow2'] as const satisfies readonly DiskFormat[];

export const diskFormat = choice(
  diskFormats,
  'what a file is; auto goes by its name (.qcow2)',
  'auto',
);
