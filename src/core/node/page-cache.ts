/**
 * Transfers that the page cache takes at once, on the calling thread: a hand-off to the thread pool
 * costs several times what the copy itself does. See docs/decisions/at-once.md.
 */
import fs from 'node:fs';
import type { FileKind } from '../env.ts';
import { native } from './native.ts';

/** Longer copies are worth a hand-off: meanwhile this thread does something else. */
export const AT_ONCE_BYTES_MAX = 128 * 1024;
/** A write of whole pages never has to read what it does not overwrite. */
const PAGE_BYTES = 4096;
/** After misses in a row one try follows for so many requests at most. */
const SKIPPED_READS_MAX = 64;
/** A write that took longer met a medium that makes writers wait, not only a busy processor. */
const SLOW_WRITE_MS = 50;
/** For so long after a slow one no write is tried. */
const PAUSE_MS = 1_000;
/** The kernel's count of dirty pages is looked up again after so long: others write too. */
const LOOK_AGE_MAX_MS = 100;
/** Or when the room is used up, but not more often than this: a look takes 40 us. */
const LOOK_AGE_MIN_MS = 5;
/** What one look allows at most. */
const ROOM_BYTES_MAX = 64 * 1024 * 1024;

/**
 * File systems of local disks (f_type, statfs(2)) whose buffered writes only touch memory. Others,
 * those that ask a server or another process above all, may wait for ever.
 */
const LOCAL_FILE_SYSTEMS: ReadonlySet<number> = new Set([
  0xef53, // ext2, ext3, ext4
  0x58465342, // XFS
  0x9123683e, // btrfs
  0xf2f52010, // F2FS
  0x01021994, // tmpfs
]);

/** What one open file knows about how its transfers fare. */
export class PageCache {
  readonly #fd: number;
  readonly #buffersWrites: boolean;
  #missesInRow = 0;
  #readsToSkip = 0;
  #pausedUntilMs = 0;

  constructor(fd: number, kind: FileKind) {
    this.#fd = fd;
    this.#buffersWrites = kind === 'block-device' || isLocal(fd);
  }

  /** Fills `target` if every byte is in memory; false otherwise, with `target` undefined then. */
  read(target: Uint8Array, offsetBytes: number): boolean {
    const lengthBytes = target.byteLength;
    if (lengthBytes > AT_ONCE_BYTES_MAX) return false;
    if (this.#readsToSkip > 0) {
      this.#readsToSkip -= 1;
      return false;
    }
    if (native()?.readCached(this.#fd, target, offsetBytes) === lengthBytes) {
      this.#missesInRow = 0;
      return true;
    }
    this.#missesInRow += 1;
    if (this.#missesInRow > 4) {
      this.#readsToSkip = Math.min(2 ** (this.#missesInRow - 4), SKIPPED_READS_MAX);
    }
    return false;
  }

  /** False: nothing is known to be written; the thread pool does it, and tells what is wrong. */
  write(source: Uint8Array, offsetBytes: number): boolean {
    const lengthBytes = source.byteLength;
    if (!this.#buffersWrites || lengthBytes > AT_ONCE_BYTES_MAX) return false;
    if (lengthBytes % PAGE_BYTES !== 0 || offsetBytes % PAGE_BYTES !== 0) return false;
    const startMs = performance.now();
    if (startMs < this.#pausedUntilMs || !dirtyRoom.take(lengthBytes, startMs)) return false;
    let writtenBytes = 0;
    try {
      writtenBytes = fs.writeSync(this.#fd, source, 0, lengthBytes, offsetBytes);
    } catch {
      // No space, for example: found again by the pool, whose error is told.
    }
    const endMs = performance.now();
    if (endMs - startMs > SLOW_WRITE_MS) this.#pausedUntilMs = endMs + PAUSE_MS;
    return writtenBytes === lengthBytes;
  }
}

function isLocal(fd: number): boolean {
  try {
    return LOCAL_FILE_SYSTEMS.has(fs.statfsSync(`/proc/self/fd/${fd}`).type);
  } catch {
    return false; // Another system: there nothing is known.
  }
}

/**
 * How much may be written until the kernel would put a writer to sleep. Linux does so from the
 * middle between its two thresholds on (balance_dirty_pages, "freerun"); half of the room below is
 * spent between two looks.
 */
class DirtyRoom {
  #bytes = 0;
  #lookedMs = Number.NEGATIVE_INFINITY;

  take(lengthBytes: number, nowMs: number): boolean {
    const ageMs = nowMs - this.#lookedMs;
    if (ageMs > LOOK_AGE_MAX_MS || (this.#bytes < lengthBytes && ageMs > LOOK_AGE_MIN_MS)) {
      this.#lookedMs = nowMs;
      this.#bytes = Math.min(roomBytes() / 2, ROOM_BYTES_MAX);
    }
    if (this.#bytes < lengthBytes) return false;
    this.#bytes -= lengthBytes;
    return true;
  }
}

/** One for all files of a thread: the thresholds are the machine's. */
const dirtyRoom = new DirtyRoom();

function roomBytes(): number {
  try {
    return dirtyRoomBytes(fs.readFileSync('/proc/vmstat', 'latin1'));
  } catch {
    return 0;
  }
}

/** From the text of /proc/vmstat, whose numbers are pages; 0 where a number is missing. */
export function dirtyRoomBytes(vmstat: string): number {
  const pages = (name: string): number =>
    Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(vmstat)?.[1] ?? Number.NaN);
  const threshold = pages('nr_dirty_threshold') + pages('nr_dirty_background_threshold');
  const room = threshold / 2 - pages('nr_dirty') - pages('nr_writeback');
  return room > 0 ? room * PAGE_BYTES : 0;
}
