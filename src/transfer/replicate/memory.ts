/** Memory for windows, frames and records, used again: as garbage it would cost much time. */
import { BufferPool } from '../../wire/index.ts';

/** Threads see it too. */
export const memory = new BufferPool(
  (sizeBytes) => new Uint8Array(new SharedArrayBuffer(sizeBytes)),
);
