/** Messages of generic netlink, and those of the kernel's NBD driver. Pure, little-endian. */
import { ATTRIBUTES_MAX } from './limits.ts';

// linux/netlink.h and linux/genetlink.h.
export const TYPE_ERROR = 2;
export const TYPE_CONTROL = 0x10;
export const CONTROL_GET_FAMILY = 3;
export const CONTROL_FAMILY_ID = 1;
export const CONTROL_FAMILY_NAME = 2;
export const CONTROL_GROUPS = 7;
export const GROUP_NAME = 1;
export const GROUP_ID = 2;
const FLAGS_REQUEST_ANSWERED = 1 | 4;

// linux/nbd-netlink.h.
export const NBD_FAMILY = 'nbd';
export const NBD_GROUP = 'nbd_mc_group';
export const NBD_CONNECT = 1;
export const NBD_DISCONNECT = 2;
export const NBD_RECONFIGURE = 3;
export const NBD_LINK_DEAD = 4;
export const NBD_INDEX = 1;
export const NBD_SIZE_BYTES = 2;
export const NBD_BLOCK_SIZE_BYTES = 3;
export const NBD_TIMEOUT = 4;
export const NBD_SERVER_FLAGS = 5;
export const NBD_SOCKETS = 7;
export const NBD_DEAD_CONNECTION_TIMEOUT = 8;
const SOCKET_ITEM = 1;
const SOCKET_DESCRIPTOR = 1;

const HEADER_BYTES = 16;
const BODY_AT = HEADER_BYTES + 4;
const TYPE_MASK = 0x3fff; // The two upper bits say how an attribute is laid out.
const NESTED = 0x8000;

const aligned = (bytes: number) => Math.ceil(bytes / 4) * 4;

export type NetlinkMessage = {
  readonly type: number;
  readonly sequence: number;
  /** Of an error message: an error number, or 0 for an acknowledgement. */
  readonly error: number;
  readonly command: number;
  readonly attributes: readonly Attribute[];
};

export type Attribute = { readonly type: number; readonly value: Uint8Array };

export function encodeMessage(
  head: { readonly type: number; readonly sequence: number; readonly command: number },
  attributes: readonly Uint8Array[],
): Uint8Array {
  const body = joined(attributes);
  const message = new Uint8Array(BODY_AT + body.byteLength);
  const view = new DataView(message.buffer);
  view.setUint32(0, message.byteLength, true);
  view.setUint16(4, head.type, true);
  view.setUint16(6, FLAGS_REQUEST_ANSWERED, true);
  view.setUint32(8, head.sequence, true);
  view.setUint8(HEADER_BYTES, head.command);
  view.setUint8(HEADER_BYTES + 1, 1); // The version of both families.
  message.set(body, BODY_AT);
  return message;
}

export function attribute(type: number, value: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(aligned(4 + value.byteLength));
  const view = new DataView(bytes.buffer);
  view.setUint16(0, 4 + value.byteLength, true);
  view.setUint16(2, type, true);
  bytes.set(value, 4);
  return bytes;
}

export function u32(type: number, value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return attribute(type, bytes);
}

/** `value` is a safe integer. */
export function u64(type: number, value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, value % 0x100000000, true);
  view.setUint32(4, Math.floor(value / 0x100000000), true);
  return attribute(type, bytes);
}

export function words(type: number, text: string): Uint8Array {
  return attribute(type, new TextEncoder().encode(`${text}\0`));
}

/** The descriptors of sockets that the driver is to use. */
export function sockets(descriptors: readonly number[]): Uint8Array {
  const items = descriptors.map((descriptor) =>
    attribute(SOCKET_ITEM | NESTED, u32(SOCKET_DESCRIPTOR, descriptor)),
  );
  return attribute(NBD_SOCKETS | NESTED, joined(items));
}

/** The whole messages in what was received; what is broken, and all behind it, is left out. */
export function decodeMessages(bytes: Uint8Array): NetlinkMessage[] {
  const messages: NetlinkMessage[] = [];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  while (at + HEADER_BYTES <= bytes.byteLength) {
    const lengthBytes = view.getUint32(at, true);
    if (lengthBytes < BODY_AT || at + lengthBytes > bytes.byteLength) break;
    const type = view.getUint16(at + 4, true);
    const isError = type === TYPE_ERROR;
    const body = bytes.subarray(at + BODY_AT, at + lengthBytes);
    messages.push({
      type,
      sequence: view.getUint32(at + 8, true),
      error: isError ? 0 - view.getInt32(at + HEADER_BYTES, true) : 0,
      command: isError ? 0 : view.getUint8(at + HEADER_BYTES),
      attributes: isError ? [] : decodeAttributes(body),
    });
    at += aligned(lengthBytes);
  }
  return messages;
}

export function decodeAttributes(bytes: Uint8Array): Attribute[] {
  const attributes: Attribute[] = [];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  while (at + 4 <= bytes.byteLength && attributes.length < ATTRIBUTES_MAX) {
    const lengthBytes = view.getUint16(at, true);
    if (lengthBytes < 4 || at + lengthBytes > bytes.byteLength) break;
    const type = view.getUint16(at + 2, true) & TYPE_MASK;
    attributes.push({ type, value: bytes.subarray(at + 4, at + lengthBytes) });
    at += aligned(lengthBytes);
  }
  return attributes;
}

export function find(attributes: readonly Attribute[], type: number): Uint8Array | undefined {
  return attributes.find((candidate) => candidate.type === type)?.value;
}

/** A number of two or four bytes; undefined if it is missing or of another length. */
export function numberOf(value: Uint8Array | undefined): number | undefined {
  if (value === undefined || (value.byteLength !== 2 && value.byteLength !== 4)) return undefined;
  return value.reduceRight((sum, byte) => sum * 256 + byte, 0);
}

export function wordsOf(value: Uint8Array | undefined): string {
  return new TextDecoder().decode(value ?? new Uint8Array(0)).replace(/\0.*$/s, '');
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.byteLength, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.byteLength;
  }
  return bytes;
}
