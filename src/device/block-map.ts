/** The file that keeps which blocks of a copy-on-write device have been written. */
import { Bitmap, crc32, type Files, type OpenFile, readFully, writeFully } from '../core/index.ts';
import {
  checkHeader,
  damagedMap,
  encodeHeader,
  HEADER_BYTES,
  type MapHeader,
} from './block-map-header.ts';
import { blockCount } from './copy-on-write.ts';
import { MAP_PAGES_PER_READ } from './limits.ts';

/*
 * After the header the bitmap in pages, all of them twice: first every page's copy 0, then every
 * page's copy 1. A page, little-endian:
 *   0    4092  bit i of 32-bit word w of page p: block 32 * (1023 * p + w) + i lies in the layer
 *   4092 4     CRC-32 of these bytes, exclusive-or that of 4092 zeroes
 * A page that was never written is a hole, and so a right one.
 *
 * Bits are only ever set, and reach the file after the content that they stand for is durable. So a
 * copy whose CRC-32 is right tells the truth, if not all of it, and the bits of both are joined.
 * One copy is durable before the other is touched: whatever a power cut or the medium does to one
 * of them, the other has all that was promised. If both are wrong, the layer is refused.
 */
const PAGE_BYTES = 4096;
const PAGE_WORDS = PAGE_BYTES / 4 - 1;
const BITS_BYTES = PAGE_WORDS * 4;
const PAGE_BITS = PAGE_WORDS * 32;
const EMPTY_PAGE = new Uint8Array(PAGE_BYTES);
const ZEROES_CRC = crc32(EMPTY_PAGE.subarray(0, BITS_BYTES));

type Copy = 0 | 1;

export class BlockMap {
  readonly bitmap: Bitmap;
  readonly #file: OpenFile;
  #dirtyPages: Set<number>;
  /** Of pages taken up and not written since: the copy that may not be durable. */
  #doubtful: Map<number, Copy>;

  private constructor(file: OpenFile, bitmap: Bitmap, doubtful: Map<number, Copy>) {
    this.#file = file;
    this.bitmap = bitmap;
    // What was read may be in the kernel's memory alone: the process before was killed ahead of
    // its sync, or that sync failed. So the first flush writes these pages again.
    this.#dirtyPages = new Set(doubtful.keys());
    this.#doubtful = doubtful;
  }

  /**
   * Makes an empty map, under a name beside `path` first: it is there whole or not at all.
   * The directory is the caller's to sync.
   */
  static async create(files: Files, header: MapHeader): Promise<void> {
    const temporary = `${header.path}.new`;
    const file = await files.open(temporary, 'write');
    try {
      await file.truncate(0);
      await file.truncate(copyOffset(2, 0, pageCount(header.sizeBytes)));
      await writeFully(file, encodeHeader(header), 0);
      await file.sync();
    } finally {
      await file.close();
    }
    await files.rename(temporary, header.path);
  }

  /** ENV_NOT_FOUND if there is none; DEVICE_LAYER if it is damaged or belongs to another base. */
  static async open(files: Files, header: MapHeader): Promise<BlockMap> {
    const file = await files.open(header.path, 'update');
    try {
      const bytes = new Uint8Array(HEADER_BYTES);
      const headerBytes = await readFully(file, bytes, 0);
      checkHeader(bytes.subarray(0, headerBytes), header);
      const bitmap = new Bitmap(blockCount(header.sizeBytes));
      return new BlockMap(file, bitmap, await load(file, bitmap, header));
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** The caller has set these bits. */
  marked(block: number, count: number): void {
    const last = Math.floor((block + count - 1) / PAGE_BITS);
    for (let page = Math.floor(block / PAGE_BITS); page <= last; page++) this.#dirtyPages.add(page);
  }

  /**
   * `syncContent` makes durable what was written before. The bits are copied before it starts:
   * those that are set while it runs may stand for content that it does not cover.
   */
  async flush(syncContent: () => Promise<void>): Promise<void> {
    const pages = [...this.#dirtyPages].sort((a, b) => a - b);
    const contents = pages.map((page) => this.#encodePage(page));
    this.#dirtyPages = new Set();
    await syncContent();
    if (pages.length === 0) return;
    const pagesPerCopy = Math.ceil(this.bitmap.size / PAGE_BITS);
    for (const second of [false, true]) {
      for (const [index, page] of pages.entries()) {
        const first = this.#doubtful.get(page) ?? 0;
        const copy = second ? 1 - first : first;
        await writeFully(this.#file, contents[index]!, copyOffset(copy, page, pagesPerCopy));
      }
      await this.#file.sync();
    }
    this.#doubtful.clear();
  }

  close(): Promise<void> {
    return this.#file.close();
  }

  #encodePage(page: number): Uint8Array {
    const bytes = new Uint8Array(PAGE_BYTES);
    const view = new DataView(bytes.buffer);
    const words = this.bitmap.words;
    const from = page * PAGE_WORDS;
    const count = Math.min(PAGE_WORDS, words.length - from);
    for (let i = 0; i < count; i++) view.setUint32(i * 4, words[from + i]!, true);
    view.setUint32(BITS_BYTES, checkOf(bytes), true);
    return bytes;
  }
}

function pageCount(sizeBytes: number): number {
  return Math.ceil(blockCount(sizeBytes) / PAGE_BITS);
}

function copyOffset(copy: number, page: number, pagesPerCopy: number): number {
  return HEADER_BYTES + (copy * pagesPerCopy + page) * PAGE_BYTES;
}

function checkOf(page: Uint8Array): number {
  return (crc32(page.subarray(0, BITS_BYTES)) ^ ZEROES_CRC) >>> 0;
}

/** Joins both copies of every page to `bitmap`; answers the doubtful copy of each that is used. */
async function load(
  file: OpenFile,
  bitmap: Bitmap,
  { path, sizeBytes }: MapHeader,
): Promise<Map<number, Copy>> {
  const doubtful = new Map<number, Copy>();
  const pagesPerCopy = pageCount(sizeBytes);
  const read = async (copy: Copy, page: number, count: number): Promise<Uint8Array> => {
    const bytes = new Uint8Array(count * PAGE_BYTES);
    const got = await readFully(file, bytes, copyOffset(copy, page, pagesPerCopy));
    if (got === bytes.byteLength) return bytes;
    throw damagedMap(path, `copy ${copy} of its pages is cut short`);
  };
  for (let from = 0; from < pagesPerCopy; from += MAP_PAGES_PER_READ) {
    const count = Math.min(MAP_PAGES_PER_READ, pagesPerCopy - from);
    const copies = [await read(0, from, count), await read(1, from, count)] as const;
    for (let page = from; page < from + count; page++) {
      const at = (page - from) * PAGE_BYTES;
      const [one, other] = copies.map((bytes) => bytes.subarray(at, at + PAGE_BYTES));
      const same = Buffer.compare(one!, other!) === 0;
      if (same && isEmpty(one!)) continue;
      const right = [one!, other!].filter(isRight);
      if (right.length === 0) {
        throw damagedMap(path, `both copies of page ${page} have a wrong CRC-32`);
      }
      for (const bytes of right) join(bitmap, page, bytes, path);
      // Copy 0 is written first. If they differ, the end may have come before it was synced; if
      // they are the same, or copy 1 is torn, before that one was.
      doubtful.set(page, same || !isRight(other!) ? 1 : 0);
    }
  }
  return doubtful;
}

function isRight(page: Uint8Array): boolean {
  return viewOf(page).getUint32(BITS_BYTES, true) === checkOf(page);
}

function isEmpty(page: Uint8Array): boolean {
  return Buffer.compare(page, EMPTY_PAGE) === 0;
}

function viewOf(page: Uint8Array): DataView {
  return new DataView(page.buffer, page.byteOffset, page.byteLength);
}

function join(bitmap: Bitmap, page: number, bytes: Uint8Array, path: string): void {
  const { words, size } = bitmap;
  const view = viewOf(bytes);
  for (let i = 0; i < PAGE_WORDS; i++) {
    const bits = view.getUint32(i * 4, true);
    if (bits === 0) continue;
    const word = page * PAGE_WORDS + i;
    // Bits behind the last block must be clear, as Bitmap has them.
    if (word * 32 + 32 - Math.clz32(bits) > size) {
      throw damagedMap(path, 'it marks blocks behind the end');
    }
    words[word] = words[word]! | bits;
  }
}

/** The directory that holds `path`. */
export function parentOf(path: string): string {
  const end = path.lastIndexOf('/');
  if (end < 0) return '.';
  return end === 0 ? '/' : path.slice(0, end);
}
