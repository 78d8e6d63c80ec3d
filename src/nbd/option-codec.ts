/** Options of the handshake and their replies, as both sides write and read them. */
import { getU16, getU32, putU16, putU32, putU64 } from './big-endian.ts';
import {
  HANDSHAKE_MAGIC,
  INFO_BLOCK_SIZE,
  type INFO_DESCRIPTION,
  INFO_EXPORT,
  type INFO_NAME,
  OPTION_HEADER_BYTES,
  OPTION_MAGIC,
  OPTION_REPLY_HEADER_BYTES,
  OPTION_REPLY_MAGIC,
} from './constants.ts';
import { META_QUERIES_MAX, NAME_BYTES_MAX } from './limits.ts';

export const GREETING_BYTES = 18;

/** The server's first bytes: that it speaks fixed newstyle, and its handshake flags. */
export function greeting(flags: number): Uint8Array {
  const bytes = new Uint8Array(GREETING_BYTES);
  putMagic(bytes, 0, HANDSHAKE_MAGIC);
  putMagic(bytes, 8, OPTION_MAGIC);
  putU16(bytes, 16, flags);
  return bytes;
}

export function hasMagic(
  bytes: Uint8Array,
  at: number,
  [high, low]: readonly [number, number],
): boolean {
  return getU32(bytes, at) === high && getU32(bytes, at + 4) === low;
}

function putMagic(bytes: Uint8Array, at: number, [high, low]: readonly [number, number]): void {
  putU32(bytes, at, high);
  putU32(bytes, at + 4, low);
}

/** A client's option with its data. */
export function optionBytes(option: number, data: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(OPTION_HEADER_BYTES + data.byteLength);
  putMagic(bytes, 0, OPTION_MAGIC);
  putU32(bytes, 8, option);
  putU32(bytes, 12, data.byteLength);
  bytes.set(data, OPTION_HEADER_BYTES);
  return bytes;
}

/** A server's reply to `option`. */
export function optionReplyBytes(option: number, type: number, data: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(OPTION_REPLY_HEADER_BYTES + data.byteLength);
  putMagic(bytes, 0, OPTION_REPLY_MAGIC);
  putU32(bytes, 8, option);
  putU32(bytes, 12, type);
  putU32(bytes, 16, data.byteLength);
  bytes.set(data, OPTION_REPLY_HEADER_BYTES);
  return bytes;
}

/** The data of INFO and GO: a name, and which infos are wanted. */
export type InfoRequest = { readonly name: string; readonly infos: readonly number[] };

export function encodeInfoRequest({ name, infos }: InfoRequest): Uint8Array {
  const text = Buffer.from(name);
  const bytes = new Uint8Array(4 + text.byteLength + 2 + infos.length * 2);
  putU32(bytes, 0, text.byteLength);
  bytes.set(text, 4);
  const at = 4 + text.byteLength;
  putU16(bytes, at, infos.length);
  infos.forEach((info, index) => {
    putU16(bytes, at + 2 + index * 2, info);
  });
  return bytes;
}

/** Undefined unless every length fits exactly. */
export function decodeInfoRequest(bytes: Uint8Array): InfoRequest | undefined {
  const name = decodeText(bytes, 0);
  if (name === undefined || bytes.byteLength < name.end + 2) return undefined;
  const count = getU16(bytes, name.end);
  if (bytes.byteLength !== name.end + 2 + count * 2) return undefined;
  const infos = Array.from({ length: count }, (_, at) => getU16(bytes, name.end + 2 + at * 2));
  return { name: name.text, infos };
}

/** The data of LIST_ and SET_META_CONTEXT: a name, and queries. */
export type MetaRequest = { readonly name: string; readonly queries: readonly string[] };

export function encodeMetaRequest({ name, queries }: MetaRequest): Uint8Array {
  const count = new Uint8Array(4);
  putU32(count, 0, queries.length);
  return new Uint8Array(Buffer.concat([prefixed(name), count, ...queries.map(prefixed)]));
}

export function decodeMetaRequest(bytes: Uint8Array): MetaRequest | undefined {
  const name = decodeText(bytes, 0);
  if (name === undefined || bytes.byteLength < name.end + 4) return undefined;
  const count = getU32(bytes, name.end);
  if (count > META_QUERIES_MAX) return undefined;
  const queries: string[] = [];
  let at = name.end + 4;
  while (queries.length < count) {
    const query = decodeText(bytes, at);
    if (query === undefined) return undefined;
    queries.push(query.text);
    at = query.end;
  }
  return at === bytes.byteLength ? { name: name.text, queries } : undefined;
}

function prefixed(text: string): Uint8Array {
  const encoded = Buffer.from(text);
  const bytes = new Uint8Array(4 + encoded.byteLength);
  putU32(bytes, 0, encoded.byteLength);
  bytes.set(encoded, 4);
  return bytes;
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Bytes as text; undefined if they are not UTF-8, too long for a name, or contain a zero. */
export function nameOf(bytes: Uint8Array): string | undefined {
  if (bytes.byteLength > NAME_BYTES_MAX || bytes.includes(0)) return undefined;
  try {
    return utf8.decode(bytes);
  } catch {
    return undefined;
  }
}

/** A 32-bit length and so many bytes of text. */
function decodeText(bytes: Uint8Array, at: number): { text: string; end: number } | undefined {
  if (bytes.byteLength < at + 4) return undefined;
  const end = at + 4 + getU32(bytes, at);
  if (end > bytes.byteLength) return undefined;
  const text = nameOf(bytes.subarray(at + 4, end));
  return text === undefined ? undefined : { text, end };
}

/** The data of a SERVER reply to LIST. */
export const encodeServerName = prefixed;

export function decodeServerName(bytes: Uint8Array): string | undefined {
  return decodeText(bytes, 0)?.text;
}

export function encodeExportInfo(sizeBytes: number, flags: number): Uint8Array {
  const bytes = new Uint8Array(12);
  putU16(bytes, 0, INFO_EXPORT);
  putU64(bytes, 2, sizeBytes);
  putU16(bytes, 10, flags);
  return bytes;
}

export function encodeTextInfo(
  info: typeof INFO_NAME | typeof INFO_DESCRIPTION,
  text: string,
): Uint8Array {
  const encoded = Buffer.from(text);
  const bytes = new Uint8Array(2 + encoded.byteLength);
  putU16(bytes, 0, info);
  bytes.set(encoded, 2);
  return bytes;
}

export type WireBlockSizes = {
  readonly minimumBytes: number;
  readonly preferredBytes: number;
  readonly maximumBytes: number;
};

export function encodeBlockSizeInfo(sizes: WireBlockSizes): Uint8Array {
  const bytes = new Uint8Array(14);
  putU16(bytes, 0, INFO_BLOCK_SIZE);
  putU32(bytes, 2, sizes.minimumBytes);
  putU32(bytes, 6, sizes.preferredBytes);
  putU32(bytes, 10, sizes.maximumBytes);
  return bytes;
}

export function encodeContext(id: number, name: string): Uint8Array {
  const encoded = Buffer.from(name);
  const bytes = new Uint8Array(4 + encoded.byteLength);
  putU32(bytes, 0, id);
  bytes.set(encoded, 4);
  return bytes;
}

export function decodeContext(bytes: Uint8Array): { id: number; name: string } | undefined {
  if (bytes.byteLength < 5) return undefined;
  const name = nameOf(bytes.subarray(4));
  return name === undefined ? undefined : { id: getU32(bytes, 0), name };
}
