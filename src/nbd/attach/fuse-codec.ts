/** FUSE messages: requests out of the kernel's bytes, replies into ours. Pure, little-endian. */
import {
  FUSE_MAJOR,
  FUSE_MINOR,
  OP_FALLOCATE,
  OP_FSYNC,
  OP_INIT,
  OP_INTERRUPT,
  OP_LOOKUP,
  OP_LSEEK,
  OP_OPEN,
  OP_READ,
  OP_READDIR,
  OP_WRITE,
  REPLY_HEADER_BYTES,
  REQUEST_HEADER_BYTES,
  WRITE_PAYLOAD_AT,
} from './fuse-constants.ts';

/** What every request has, and the fields that some have; the others are 0 or empty. */
export type FuseRequest = {
  readonly opcode: number;
  /** An identifier of 64 bits, in two halves: nothing is computed with it. */
  readonly uniqueLow: number;
  readonly uniqueHigh: number;
  readonly node: number;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  /** open(2)'s flags, fallocate(2)'s mode, lseek(2)'s whence, INIT's capabilities. */
  readonly flags: number;
  readonly name: string;
  readonly version: { readonly major: number; readonly minor: number };
  readonly readAheadBytes: number;
  /** A view of what was decoded: the bytes of a WRITE. */
  readonly payload: Uint8Array;
};

const nothing = new Uint8Array(0);
const noVersion = { major: 0, minor: 0 } as const;
const text = new TextDecoder();

/** How long the fixed part of a request's body is, where its fields are looked at. */
const bodyBytes: ReadonlyMap<number, number> = new Map([
  [OP_INIT, 16],
  [OP_OPEN, 8],
  [OP_READ, 40],
  [OP_READDIR, 40],
  [OP_WRITE, 40],
  [OP_FSYNC, 16],
  [OP_FALLOCATE, 32],
  [OP_LSEEK, 24],
  [OP_INTERRUPT, 8],
  [OP_LOOKUP, 2], // One byte of a name and its end.
]);

/** Undefined for what is no whole request: nothing can be answered then. */
export function decodeRequest(bytes: Uint8Array): FuseRequest | undefined {
  if (bytes.byteLength < REQUEST_HEADER_BYTES) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const opcode = view.getUint32(4, true);
  if (view.getUint32(0, true) !== bytes.byteLength) return undefined;
  if (bytes.byteLength - REQUEST_HEADER_BYTES < (bodyBytes.get(opcode) ?? 0)) return undefined;
  const request = {
    opcode,
    uniqueLow: view.getUint32(8, true),
    uniqueHigh: view.getUint32(12, true),
    node: getU64(view, 16),
    offsetBytes: 0,
    lengthBytes: 0,
    flags: 0,
    name: '',
    version: noVersion as FuseRequest['version'],
    readAheadBytes: 0,
    payload: nothing as Uint8Array,
  };
  const at = REQUEST_HEADER_BYTES;
  switch (opcode) {
    case OP_INIT:
      request.version = { major: view.getUint32(at, true), minor: view.getUint32(at + 4, true) };
      request.readAheadBytes = view.getUint32(at + 8, true);
      request.flags = view.getUint32(at + 12, true);
      break;
    case OP_OPEN:
      request.flags = view.getUint32(at, true);
      break;
    case OP_READ:
    case OP_READDIR:
    case OP_WRITE:
      request.offsetBytes = getU64(view, at + 8);
      request.lengthBytes = view.getUint32(at + 16, true);
      break;
    case OP_FALLOCATE:
      request.offsetBytes = getU64(view, at + 8);
      request.lengthBytes = getU64(view, at + 16);
      request.flags = view.getUint32(at + 24, true);
      break;
    case OP_LSEEK:
      request.offsetBytes = getU64(view, at + 8);
      request.flags = view.getUint32(at + 16, true);
      break;
    case OP_LOOKUP:
      if (bytes.at(-1) !== 0) return undefined;
      request.name = text.decode(bytes.subarray(at, -1));
      break;
  }
  if (opcode === OP_WRITE) {
    if (bytes.byteLength - WRITE_PAYLOAD_AT !== request.lengthBytes) return undefined;
    request.payload = bytes.subarray(WRITE_PAYLOAD_AT);
  }
  return request;
}

type Unique = Pick<FuseRequest, 'uniqueLow' | 'uniqueHigh'>;

/** Whom to answer about bytes that are no request; zero, which is nobody, if they are too few. */
export function uniqueOf(bytes: Uint8Array): Unique {
  if (bytes.byteLength < REPLY_HEADER_BYTES) return { uniqueLow: 0, uniqueHigh: 0 };
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return { uniqueLow: view.getUint32(8, true), uniqueHigh: view.getUint32(12, true) };
}

/** Writes the header at the start of a reply whose body lies behind it already. */
export function putReplyHeader(
  reply: Uint8Array,
  { uniqueLow, uniqueHigh }: Unique,
  error: number,
): void {
  const view = new DataView(reply.buffer, reply.byteOffset, reply.byteLength);
  view.setUint32(0, reply.byteLength, true);
  view.setInt32(4, -error, true);
  view.setUint32(8, uniqueLow, true);
  view.setUint32(12, uniqueHigh, true);
}

/** A reply without a body: an error number, or 0. */
export function encodeStatus(to: Unique, error: number): Uint8Array {
  const reply = new Uint8Array(REPLY_HEADER_BYTES);
  putReplyHeader(reply, to, error);
  return reply;
}

/** A successful reply of `lengthBytes` behind its header, filled in by `fill`. */
function body(to: Unique, lengthBytes: number, fill: (view: DataView) => void): Uint8Array {
  const reply = new Uint8Array(REPLY_HEADER_BYTES + lengthBytes);
  putReplyHeader(reply, to, 0);
  fill(new DataView(reply.buffer, REPLY_HEADER_BYTES));
  return reply;
}

export type InitAnswer = {
  readonly readAheadBytes: number;
  readonly flags: number;
  readonly backgroundMax: number;
  readonly writeBytesMax: number;
};

const PAGE_BYTES = 4096;
/** Above this many requests in the background the kernel calls the device congested. */
const CONGESTED_PART = 0.75;

export function encodeInit(to: Unique, answer: InitAnswer): Uint8Array {
  return body(to, 64, (view) => {
    view.setUint32(0, FUSE_MAJOR, true);
    view.setUint32(4, FUSE_MINOR, true);
    view.setUint32(8, answer.readAheadBytes, true);
    view.setUint32(12, answer.flags, true);
    view.setUint16(16, answer.backgroundMax, true);
    view.setUint16(18, Math.floor(answer.backgroundMax * CONGESTED_PART), true);
    view.setUint32(20, answer.writeBytesMax, true);
    view.setUint32(24, 1, true); // Times are exact to a nanosecond.
    view.setUint16(28, answer.writeBytesMax / PAGE_BYTES, true);
  });
}

export type Attributes = {
  readonly node: number;
  readonly sizeBytes: number;
  readonly mode: number;
  readonly links: number;
  readonly modifiedMs: number;
  readonly userId: number;
  readonly groupId: number;
};

const ATTRIBUTES_BYTES = 88;

function putAttributes(view: DataView, at: number, attributes: Attributes): void {
  const seconds = Math.floor(attributes.modifiedMs / 1000);
  const nanoseconds = Math.floor(attributes.modifiedMs % 1000) * 1_000_000;
  putU64(view, at, attributes.node);
  putU64(view, at + 8, attributes.sizeBytes);
  putU64(view, at + 16, Math.ceil(attributes.sizeBytes / 512));
  for (let index = 0; index < 3; index += 1) {
    putU64(view, at + 24 + index * 8, seconds);
    view.setUint32(at + 48 + index * 4, nanoseconds, true);
  }
  view.setUint32(at + 60, attributes.mode, true);
  view.setUint32(at + 64, attributes.links, true);
  view.setUint32(at + 68, attributes.userId, true);
  view.setUint32(at + 72, attributes.groupId, true);
  view.setUint32(at + 80, PAGE_BYTES, true);
}

/** For GETATTR and SETATTR; `validSeconds` is how long the kernel need not ask again. */
export function encodeAttributes(
  to: Unique,
  attributes: Attributes,
  validSeconds: number,
): Uint8Array {
  return body(to, 16 + ATTRIBUTES_BYTES, (view) => {
    putU64(view, 0, validSeconds);
    putAttributes(view, 16, attributes);
  });
}

/** For LOOKUP. */
export function encodeEntry(to: Unique, attributes: Attributes, validSeconds: number): Uint8Array {
  return body(to, 40 + ATTRIBUTES_BYTES, (view) => {
    putU64(view, 0, attributes.node);
    putU64(view, 16, validSeconds);
    putU64(view, 24, validSeconds);
    putAttributes(view, 40, attributes);
  });
}

/** No handles are given out, and the kernel's cache is dropped at each opening. */
export function encodeOpened(to: Unique): Uint8Array {
  return body(to, 16, () => {});
}

export function encodeWritten(to: Unique, lengthBytes: number): Uint8Array {
  return body(to, 8, (view) => view.setUint32(0, lengthBytes, true));
}

export function encodeOffset(to: Unique, offsetBytes: number): Uint8Array {
  return body(to, 8, (view) => putU64(view, 0, offsetBytes));
}

export function encodeFileSystem(to: Unique, sizeBytes: number): Uint8Array {
  return body(to, 80, (view) => {
    putU64(view, 0, Math.ceil(sizeBytes / PAGE_BYTES));
    putU64(view, 24, 1); // One file.
    view.setUint32(40, PAGE_BYTES, true);
    view.setUint32(44, 255, true); // The longest name.
    view.setUint32(48, PAGE_BYTES, true);
  });
}

export type DirectoryEntry = {
  readonly node: number;
  readonly type: number;
  readonly name: string;
};

/** The entries from number `first` on that fit whole into `lengthBytes`. */
export function encodeDirectory(
  to: Unique,
  entries: readonly DirectoryEntry[],
  first: number,
  lengthBytes: number,
): Uint8Array {
  const parts: Uint8Array[] = [];
  let usedBytes = 0;
  for (let index = first; index < entries.length; index += 1) {
    const { node, type, name } = entries[index]!;
    const nameBytes = new TextEncoder().encode(name);
    const part = new Uint8Array(Math.ceil((24 + nameBytes.byteLength) / 8) * 8);
    if (usedBytes + part.byteLength > lengthBytes) break;
    const view = new DataView(part.buffer);
    putU64(view, 0, node);
    putU64(view, 8, index + 1); // Where the next call begins.
    view.setUint32(16, nameBytes.byteLength, true);
    view.setUint32(20, type, true);
    part.set(nameBytes, 24);
    parts.push(part);
    usedBytes += part.byteLength;
  }
  const reply = new Uint8Array(REPLY_HEADER_BYTES + usedBytes);
  let at = REPLY_HEADER_BYTES;
  for (const part of parts) {
    reply.set(part, at);
    at += part.byteLength;
  }
  putReplyHeader(reply, to, 0);
  return reply;
}

/** Inexact from 2^53 on, where it stays above every device: compare before use. */
function getU64(view: DataView, at: number): number {
  return view.getUint32(at + 4, true) * 0x100000000 + view.getUint32(at, true);
}

function putU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value % 0x100000000, true);
  view.setUint32(at + 4, Math.floor(value / 0x100000000), true);
}
