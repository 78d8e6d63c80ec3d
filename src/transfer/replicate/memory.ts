/** Memory for windows, frames and records, used again: as garbage it would cost much time. */
import { BufferPool } from '../../wire/index.ts';

export const memory = new BufferPool();
