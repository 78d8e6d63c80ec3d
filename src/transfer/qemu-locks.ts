/** Whether a running QEMU may write to an image: the kernel's table of locks tells. */
import { type Env, hasCode, readFully } from '../core/index.ts';

/** QEMU locks byte 100 + n if it holds permission n; 1 is to write (block/file-posix.c). */
const WRITE_PERMISSION_BYTE = 101;
const TABLE = '/proc/locks';
const TABLE_BYTES_MAX = 4 * 1024 * 1024;

/** False where there is no such table, and for programs that take no locks: nothing is promised. */
export async function isWrittenByQemu({ files }: Env, path: string): Promise<boolean> {
  const { device, inode } = await files.stat(path);
  // makedev(3): the layout of a Linux device number.
  const major = ((device >>> 8) & 0xfff).toString(16).padStart(2, '0');
  const minor = ((device & 0xff) | ((device >>> 12) & 0xfff00)).toString(16).padStart(2, '0');
  const place = `${major}:${minor}:${inode}`;
  return (await tableOf({ files })).split('\n').some((line) => {
    const [, kind, , , , where, from, to] = line.trim().split(/\s+/);
    if (kind !== 'OFDLCK' && kind !== 'POSIX') return false;
    const last = to === 'EOF' ? Number.MAX_SAFE_INTEGER : Number(to);
    const isHit = Number(from) <= WRITE_PERMISSION_BYTE && last >= WRITE_PERMISSION_BYTE;
    return where === place && isHit;
  });
}

async function tableOf({ files }: Pick<Env, 'files'>): Promise<string> {
  try {
    const file = await files.open(TABLE, 'read');
    try {
      // Its size is told as 0; it is read until it ends.
      const bytes = new Uint8Array(TABLE_BYTES_MAX);
      return new TextDecoder().decode(bytes.subarray(0, await readFully(file, bytes, 0)));
    } finally {
      await file.close();
    }
  } catch (error) {
    if (hasCode(error, 'ENV_NOT_FOUND') || hasCode(error, 'ENV_ACCESS')) return '';
    throw error;
  }
}
