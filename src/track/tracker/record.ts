/** Records of a tracker's files: the frame around each, and what is in them. */
import { ByteReader, ByteWriter, crc32, FormatError } from '../../core/index.ts';
import type { EmptyKind } from './dirty-map.ts';
import { RECORD_BYTES_MAX } from './limits.ts';
import type { Shape } from './shape.ts';
import { nextInWords } from './words.ts';

/*
 * docs/internals/tracking.md describes these bytes. A file is a header and records:
 *   header  "FERRYTRK", u16 version, u16 kind of file, u64 size of the volume, u32 KiB per region,
 *           8 random bytes of this file, u32 CRC-32 of all that
 *   record  u32 bytes of the payload, u8 type, u32 number of the record, u32 number of the first
 *           record that was made durable together with it, payload,
 *           u32 CRC-32 of the file's random bytes, then of the record up to here
 * Numbers count from 0. A record that is cut short, has another number than its place or a wrong
 * CRC-32 was torn by a crash: it and what follows was never promised to anybody. Unless a record
 * further on was begun after it was durable: then the file is damaged.
 */
const MAGIC = 'FERRYTRK';
const VERSION = 1;
export const FILE_NONCE_BYTES = 8;
export const FILE_HEADER_BYTES = 8 + 2 + 2 + 8 + 4 + FILE_NONCE_BYTES + 4;
const HEAD_BYTES = 4 + 1 + 4 + 4;
export const FRAME_BYTES = HEAD_BYTES + 4;

export const FILE_LOG = 1;
export const FILE_SET = 2;
export const FILE_PROFILE = 3;

export const RECORD_STATE = 1; // JSON: who follows, what is sealed; see state.ts.
export const RECORD_HOT = 2; // Regions that may be written from now on.
export const RECORD_PAGE = 3; // A region's exact marks; it is not hot any more.
export const RECORD_EMPTY = 4; // Stretches that were zeroed or discarded.
export const RECORD_STILL = 5; // JSON: nothing is hot, and this is what the file looked like.
export const RECORD_END = 6; // What was written as a whole is whole.
export const RECORD_PROFILE = 7; // JSON: what a profile is beside its counts; see profile-file.ts.
export const RECORD_REGIONS = 8; // Counts of regions.
export const RECORD_SAMPLE = 9; // Last accesses of a sample of regions.
export const RECORD_SKETCH = 10; // Counts of all other regions.
const RECORD_LAST = RECORD_SKETCH;

export type FileHeader = {
  readonly kind: number;
  readonly shape: Pick<Shape, 'sizeBytes' | 'regionBytes'>;
  readonly nonce: Uint8Array;
};

export function encodeFileHeader({ kind, shape, nonce }: FileHeader): Uint8Array {
  const writer = new ByteWriter(FILE_HEADER_BYTES);
  writer.put(new TextEncoder().encode(MAGIC));
  writer.u16(VERSION);
  writer.u16(kind);
  writer.u53(shape.sizeBytes);
  writer.u32(shape.regionBytes / 1024);
  writer.put(nonce);
  writer.u32(crc32(writer.view()));
  return writer.view();
}

export type ReadHeader = {
  readonly kind: number;
  readonly sizeBytes: number;
  readonly regionBytes: number;
  readonly nonce: Uint8Array;
};

/** FORMAT_INVALID; a version that is not known is told as such. */
export function decodeFileHeader(bytes: Uint8Array): ReadHeader {
  const reader = new ByteReader(bytes);
  const magic = new TextDecoder('latin1').decode(reader.take(MAGIC.length));
  if (magic !== MAGIC) throw new FormatError('it does not begin like a file of a tracker');
  const version = reader.u16();
  if (version !== VERSION) throw new FormatError(`its version is ${version}, not ${VERSION}`);
  const kind = reader.u16();
  const sizeBytes = reader.u53();
  const regionBytes = reader.u32() * 1024;
  const nonce = reader.take(FILE_NONCE_BYTES).slice();
  const crc = reader.u32();
  if (crc !== crc32(bytes.subarray(0, FILE_HEADER_BYTES - 4))) {
    throw new FormatError('a wrong CRC-32');
  }
  return { kind, sizeBytes, regionBytes, nonce };
}

export type Place = { readonly number: number; readonly group: number };

export function encodeRecord(
  nonceCrc: number,
  { number, group }: Place,
  { type, payload }: Record,
): Uint8Array {
  const writer = new ByteWriter(FRAME_BYTES + payload.byteLength);
  writer.u32(payload.byteLength);
  writer.u8(type);
  writer.u32(number);
  writer.u32(group);
  writer.put(payload);
  writer.u32(crc32(writer.view(), nonceCrc));
  return writer.view();
}

export type Record = { readonly type: number; readonly payload: Uint8Array };

/**
 * All records up to the end, or up to one that was torn; payloads are views. FORMAT_INVALID if one
 * is damaged that had been durable.
 */
export function* decodeRecords(bytes: Uint8Array, nonce: Uint8Array): Generator<Record> {
  const frames = new Frames(bytes, crc32(nonce));
  let at = FILE_HEADER_BYTES;
  let number = 0;
  for (; ; number++) {
    const frame = frames.at(at, number);
    if (frame === undefined) break;
    yield frame;
    at = frame.endBytes;
  }
  for (let later = at + 1; later + FRAME_BYTES <= bytes.byteLength; later++) {
    const frame = frames.at(later, undefined);
    if (frame !== undefined && frame.group > number) {
      throw new FormatError(`record ${number} is damaged`);
    }
  }
}

/** Looks at places where a record may begin. */
class Frames {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #nonceCrc: number;

  constructor(bytes: Uint8Array, nonceCrc: number) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#nonceCrc = nonceCrc;
  }

  at(at: number, number: number | undefined) {
    const bytes = this.#bytes;
    if (at + FRAME_BYTES > bytes.byteLength) return undefined;
    const payloadBytes = this.#view.getUint32(at, true);
    const endBytes = at + FRAME_BYTES + payloadBytes;
    if (payloadBytes > RECORD_BYTES_MAX || endBytes > bytes.byteLength) return undefined;
    const own = this.#view.getUint32(at + 5, true);
    const group = this.#view.getUint32(at + 9, true);
    if (group > own || (number !== undefined && own !== number)) return undefined;
    const type = bytes[at + 4]!;
    if (type === 0 || type > RECORD_LAST) return undefined;
    const crc = crc32(bytes.subarray(at, endBytes - 4), this.#nonceCrc);
    if (this.#view.getUint32(endBytes - 4, true) !== crc) return undefined;
    const payload = bytes.subarray(at + HEAD_BYTES, endBytes - 4);
    return { type, payload, group, endBytes };
  }
}

export function encodeHot(regions: readonly number[]): Uint8Array {
  const writer = new ByteWriter(regions.length * 4);
  for (const region of regions) writer.u32(region);
  return writer.view();
}

export function* decodeHot(payload: Uint8Array): Generator<number> {
  const reader = new ByteReader(payload);
  while (reader.remaining > 0) yield reader.u32();
}

/** How a page's marks are written: none, all, all for want of knowledge, bits, runs of blocks. */
const PAGE_CLEAN = 0;
const PAGE_WHOLE = 1;
const PAGE_UNSURE = 2;
const PAGE_BITS = 3;
const PAGE_RUNS = 4;

/** The region, and how its marks are written. */
const PAGE_HEAD_BYTES = 4 + 1;
/** Of a number of blocks, which are fewer than 2^32. */
const BLOCK_VARINT_BYTES_MAX = 5;

export type PageMarks = 'clean' | 'whole' | 'unsure' | Uint32Array;

/** Runs where that is shorter than the bits. */
export function encodePage(region: number, marks: PageMarks): Uint8Array {
  if (typeof marks === 'string') {
    const writer = new ByteWriter(5);
    writer.u32(region);
    writer.u8({ clean: PAGE_CLEAN, whole: PAGE_WHOLE, unsure: PAGE_UNSURE }[marks]);
    return writer.view();
  }
  const bits = new Uint8Array(marks.buffer, marks.byteOffset, marks.byteLength);
  const runs = encodeRuns(marks);
  const writer = new ByteWriter(PAGE_HEAD_BYTES + bits.byteLength);
  writer.u32(region);
  writer.u8(runs === undefined ? PAGE_BITS : PAGE_RUNS);
  writer.put(runs ?? bits);
  return writer.view();
}

/** Fresh memory for each page would take longer than what goes into it. */
let runsRoom = new Uint8Array(0);

/** Borrowed until the next call; undefined where that is longer than the bits. */
function encodeRuns(words: Uint32Array): Uint8Array | undefined {
  const blocks = words.length * 32;
  const bytesMax = words.byteLength - PAGE_HEAD_BYTES;
  const roomBytes = bytesMax + 2 * BLOCK_VARINT_BYTES_MAX;
  if (runsRoom.byteLength < roomBytes) runsRoom = new Uint8Array(roomBytes);
  const runs = runsRoom;
  let at = 0;
  let last = 0;
  for (;;) {
    const from = nextInWords(words, last, blocks, true);
    if (from === blocks) return runs.subarray(0, at);
    const end = nextInWords(words, from, blocks, false);
    at = putVarint(runs, putVarint(runs, at, from - last), end - from);
    if (at > bytesMax) return undefined;
    last = end;
  }
}

function putVarint(target: Uint8Array, at: number, value: number): number {
  let rest = value;
  let next = at;
  for (; rest >= 0x80; rest >>>= 7) target[next++] = (rest & 0x7f) | 0x80;
  target[next++] = rest;
  return next;
}

/** FORMAT_INVALID if it is no page of such a volume. Bits are put into `room`, or new memory. */
export function decodePage(
  payload: Uint8Array,
  shape: Shape,
  room?: Uint32Array,
): { readonly region: number; readonly marks: PageMarks } {
  const reader = new ByteReader(payload);
  const region = reader.u32();
  if (region >= shape.regionCount) throw new FormatError(`region ${region} of a smaller volume`);
  const encoding = reader.u8();
  if (encoding === PAGE_CLEAN) return { region, marks: 'clean' };
  if (encoding === PAGE_WHOLE) return { region, marks: 'whole' };
  if (encoding === PAGE_UNSURE) return { region, marks: 'unsure' };
  const words = room?.fill(0) ?? new Uint32Array(shape.wordsPerRegion);
  if (encoding === PAGE_BITS) {
    const target = new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
    target.set(reader.take(words.byteLength));
  } else if (encoding === PAGE_RUNS) {
    let at = 0;
    while (reader.remaining > 0) {
      const from = at + reader.varint();
      at = from + reader.varint();
      if (at > shape.blocksPerRegion) throw new FormatError(`a run past region ${region}`);
      for (let block = from; block < at; block++) words[block >>> 5]! |= 1 << (block & 31);
    }
  } else throw new FormatError(`a page of kind ${encoding}`);
  return { region, marks: words };
}

export type Empty = {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly kind: EmptyKind;
};

export function encodeEmpties(empties: Iterable<Empty>): Uint8Array {
  const writer = new ByteWriter(64);
  for (const { offsetBytes, lengthBytes, kind } of empties) {
    writer.u8(kind === 'zero' ? 0 : 1);
    writer.varint(offsetBytes);
    writer.varint(lengthBytes);
  }
  return writer.view();
}

export function* decodeEmpties(payload: Uint8Array): Generator<Empty> {
  const reader = new ByteReader(payload);
  while (reader.remaining > 0) {
    const kind = reader.u8() === 0 ? 'zero' : 'discarded';
    yield { kind, offsetBytes: reader.varint(), lengthBytes: reader.varint() };
  }
}

export function encodeJson(value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value));
}

export function decodeJson(payload: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(payload));
  } catch (error) {
    throw new FormatError(`a record is not JSON: ${(error as Error).message}`);
  }
}
