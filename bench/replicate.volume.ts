/** The volume that is replicated, as it is before a measurement. */
import { runOk } from '../test/interop/processes.ts';

export const VOLUME_BYTES = 2 ** 30;

/**
 * Written once, all of it: no write has to find room, whether it is the first, and the page cache
 * has it. What comes from /dev/urandom nothing compresses.
 */
export async function writeVolume(
  path: string,
  source: '/dev/zero' | '/dev/urandom',
): Promise<void> {
  const write = `head -c ${VOLUME_BYTES} ${source} > "$1"; sync "$1"`;
  await runOk('sh', ['-c', write, 'sh', path]);
}
