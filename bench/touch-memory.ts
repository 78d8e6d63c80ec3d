/**
 * Touches free memory before a measurement: a virtual machine whose host takes free memory back
 * pays for each page that it touches first, up to four seconds of the processor per GiB.
 */
import { join } from 'node:path';
import { runOk } from '../test/interop/processes.ts';

/** What a part of a benchmark uses at most, page cache and all. */
const TOUCHED_BYTES = 5 * 2 ** 30;

export async function touchMemory(folder: string): Promise<void> {
  const words = ['-c', `head -c ${TOUCHED_BYTES} /dev/zero > "$1"; rm "$1"`, 'sh'];
  await runOk('sh', [...words, join(folder, 'touched')], { timeoutMs: 120_000 });
}
