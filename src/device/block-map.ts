/** The file that keeps which blocks of a copy-on-write device have been written. */
import {
  Bitmap,
  ByteReader,
  ByteWriter,
  crc32,
  type Files,
  FormatError,
  hasCode,
  type OpenFile,
  readFully,
  writeFully,
} from '../core/index.ts';
import { blockCount } from './copy-on-write.ts';
import { DeviceError } from './device.ts';
import { COPY_BLOCK_BYTES, IDENTITY_BYTES_MAX } from './limits.ts';

/*
 * Layout, little-endian: one header page, then the bitmap in pages.
 *   0   8  "FERRYCOW"
 *   8   2  version, 1
 *   10  4  bytes per block, 4096
 *   14  8  size of the base in bytes
 *   22  v  varint length and bytes of the base's identity (UTF-8)
 *   4092 4 CRC-32 of the 4092 bytes before; what is between is zero
 *   4096   bit i of the 32-bit word w: block 32 * w + i lies in the layer; padded to a page
 *
 * Bits are only ever set, and reach the file after the content that they stand for is durable. A
 * page that a power cut has torn is therefore still right: each of its bits is old or new, and both
 * tell the truth.
 */
const MAGIC = 'FERRYCOW';
const VERSION = 1;
const PAGE_BYTES = 4096;
const PAGE_WORDS = PAGE_BYTES / 4;
const PAGE_BITS = PAGE_BYTES * 8;

export type BlockMapOptions = {
  readonly path: string;
  /** What the layer lies over; a map of another one is refused. */
  readonly identity: string;
  readonly sizeBytes: number;
};

export class BlockMap {
  readonly bitmap: Bitmap;
  readonly #file: OpenFile;
  #dirtyPages: Set<number>;

  private constructor(file: OpenFile, bitmap: Bitmap, dirtyPages: Set<number>) {
    this.#file = file;
    this.bitmap = bitmap;
    this.#dirtyPages = dirtyPages;
  }

  /**
   * Makes an empty map, under a name beside `path` first: it is there whole or not at all.
   * The directory is the caller's to sync.
   */
  static async create(files: Files, options: BlockMapOptions): Promise<void> {
    const pages = Math.ceil(blockCount(options.sizeBytes) / PAGE_BITS);
    const temporary = `${options.path}.new`;
    const file = await files.open(temporary, 'write');
    try {
      await file.truncate(0);
      await file.truncate((1 + pages) * PAGE_BYTES);
      await writeFully(file, encodeHeader(options), 0);
      await file.sync();
    } finally {
      await file.close();
    }
    await files.rename(temporary, options.path);
  }

  /** ENV_NOT_FOUND if there is none; DEVICE_LAYER if it is damaged or belongs to another base. */
  static async open(files: Files, options: BlockMapOptions): Promise<BlockMap> {
    const file = await files.open(options.path, 'update');
    try {
      const header = new Uint8Array(PAGE_BYTES);
      const headerBytes = await readFully(file, header, 0);
      checkHeader(header.subarray(0, headerBytes), options);
      const bitmap = new Bitmap(blockCount(options.sizeBytes));
      await load(file, bitmap, options.path);
      return new BlockMap(file, bitmap, pagesWithBits(bitmap));
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
    const pages = [...this.#dirtyPages].sort((a, b) => a - b).map((page) => this.#copyPage(page));
    this.#dirtyPages = new Set();
    await syncContent();
    if (pages.length === 0) return;
    for (const { offsetBytes, bytes } of pages) await writeFully(this.#file, bytes, offsetBytes);
    await this.#file.sync();
  }

  close(): Promise<void> {
    return this.#file.close();
  }

  #copyPage(page: number): { offsetBytes: number; bytes: Uint8Array } {
    const bytes = new Uint8Array(PAGE_BYTES);
    const view = new DataView(bytes.buffer);
    const words = this.bitmap.words;
    const from = page * PAGE_WORDS;
    const count = Math.min(PAGE_WORDS, words.length - from);
    for (let i = 0; i < count; i++) view.setUint32(i * 4, words[from + i]!, true);
    return { offsetBytes: (1 + page) * PAGE_BYTES, bytes };
  }
}

function encodeHeader({ identity, sizeBytes }: BlockMapOptions): Uint8Array {
  const identityBytes = new TextEncoder().encode(identity);
  if (identityBytes.byteLength > IDENTITY_BYTES_MAX) {
    throw new DeviceError('DEVICE_LAYER', `an identity of ${identityBytes.byteLength} bytes`, {
      hint: `Use a digest: at most ${IDENTITY_BYTES_MAX} bytes are kept.`,
    });
  }
  const writer = new ByteWriter(PAGE_BYTES);
  writer.put(new TextEncoder().encode(MAGIC));
  writer.u16(VERSION);
  writer.u32(COPY_BLOCK_BYTES);
  writer.u53(sizeBytes);
  writer.varint(identityBytes.byteLength);
  writer.put(identityBytes);
  writer.put(new Uint8Array(PAGE_BYTES - 4 - writer.length));
  writer.u32(crc32(writer.view()));
  return writer.view();
}

function checkHeader(header: Uint8Array, { path, identity, sizeBytes }: BlockMapOptions): void {
  const other = readHeader(header, path);
  if (other.identity === identity && other.sizeBytes === sizeBytes) return;
  throw new DeviceError(
    'DEVICE_LAYER',
    `${path} belongs to ${other.identity} (${other.sizeBytes} bytes), ` +
      `not to ${identity} (${sizeBytes} bytes)`,
    { hint: 'Continue it over its own base, or start a new layer elsewhere.' },
  );
}

function readHeader(header: Uint8Array, path: string): { identity: string; sizeBytes: number } {
  try {
    const reader = new ByteReader(header);
    const magic = new TextDecoder('latin1').decode(reader.take(MAGIC.length));
    if (magic !== MAGIC) throw new FormatError('it does not begin like a map of a layer');
    const version = reader.u16();
    if (version !== VERSION) throw new FormatError(`version ${version} is not known`);
    if (header.byteLength < PAGE_BYTES) throw new FormatError('the header is cut short');
    const crc = new ByteReader(header.subarray(PAGE_BYTES - 4)).u32();
    if (crc !== crc32(header.subarray(0, PAGE_BYTES - 4))) throw new FormatError('a wrong CRC-32');
    const blockBytes = reader.u32();
    if (blockBytes !== COPY_BLOCK_BYTES) throw new FormatError(`blocks of ${blockBytes} bytes`);
    const sizeBytes = reader.u53();
    const lengthBytes = reader.count(IDENTITY_BYTES_MAX, 'the length of the identity');
    const identity = new TextDecoder().decode(reader.take(lengthBytes));
    return { identity, sizeBytes };
  } catch (error) {
    if (!hasCode(error, 'FORMAT_INVALID')) throw error;
    throw damaged(path, (error as FormatError).message, error);
  }
}

/**
 * What was read may be in the kernel's memory alone: the process before was killed ahead of its
 * sync, or that sync failed. So the first flush writes these pages again.
 */
function pagesWithBits(bitmap: Bitmap): Set<number> {
  const pages = new Set<number>();
  for (let block = bitmap.nextSet(0); block < bitmap.size; ) {
    const page = Math.floor(block / PAGE_BITS);
    pages.add(page);
    block = bitmap.nextSet(Math.min(bitmap.size, (page + 1) * PAGE_BITS));
  }
  return pages;
}

async function load(file: OpenFile, bitmap: Bitmap, path: string): Promise<void> {
  const bytes = new Uint8Array(Math.ceil(bitmap.size / PAGE_BITS) * PAGE_BYTES);
  const got = await readFully(file, bytes, PAGE_BYTES);
  if (got < bytes.byteLength) throw damaged(path, `${bytes.byteLength - got} bytes are missing`);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < bitmap.words.length; i++) bitmap.words[i] = view.getUint32(i * 4, true);
  // The bits behind the last block must be clear, as Bitmap has them.
  const unused = bitmap.words.length * 32 - bitmap.size;
  const last = bitmap.words.at(-1) ?? 0;
  if (unused > 0 && last >>> (32 - unused) !== 0) {
    throw damaged(path, 'it marks blocks behind the end');
  }
}

function damaged(path: string, why: string, cause?: unknown): DeviceError {
  return new DeviceError('DEVICE_LAYER', `${path} is damaged: ${why}`, {
    hint: 'What was written through this layer cannot be told from its base any more.',
    cause,
  });
}

/** The directory that holds `path`. */
export function parentOf(path: string): string {
  const end = path.lastIndexOf('/');
  if (end < 0) return '.';
  return end === 0 ? '/' : path.slice(0, end);
}
