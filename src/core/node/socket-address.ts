/** sockaddr_in and sockaddr_in6 of Linux, read and written. */
import { isIPv6 } from 'node:net';
import type { DatagramAddress } from '../datagrams.ts';

const FAMILY_4 = 2;
const FAMILY_6 = 10;
const BYTES_4 = 16;
const BYTES_6 = 28;

export function toSocketAddress({ host, port }: DatagramAddress): Uint8Array {
  const is6 = isIPv6(host);
  const bytes = new Uint8Array(is6 ? BYTES_6 : BYTES_4);
  bytes[0] = is6 ? FAMILY_6 : FAMILY_4;
  bytes[2] = port >>> 8;
  bytes[3] = port;
  if (is6) bytes.set(bytesOf6(host), 8);
  else for (const [at, part] of host.split('.').entries()) bytes[4 + at] = Number(part);
  return bytes;
}

export function fromSocketAddress(bytes: Uint8Array): DatagramAddress {
  const port = (bytes[2]! << 8) | bytes[3]!;
  if (bytes[0] === FAMILY_4) return { host: bytes.subarray(4, 8).join('.'), port };
  const groups: string[] = [];
  for (let at = 8; at < 24; at += 2) groups.push(((bytes[at]! << 8) | bytes[at + 1]!).toString(16));
  return { host: groups.join(':'), port };
}

/** The bytes that tell one sender from another. */
export function isSameAddress(a: Uint8Array, b: Uint8Array): boolean {
  if (a[0] !== b[0]) return false;
  const end = a[0] === FAMILY_4 ? 8 : 24;
  for (let at = 2; at < end; at += 1) if (a[at] !== b[at]) return false;
  return true;
}

/** RFC 4291, section 2.2; without a zone, which has no place in it. */
function bytesOf6(text: string): Uint8Array {
  const bytes = new Uint8Array(16);
  const [head = '', tail] = text.split('::');
  const groups = (part: string) => (part === '' ? [] : part.split(':')).flatMap(numbersOf);
  const front = groups(head);
  const back = tail === undefined ? [] : groups(tail);
  for (const [at, group] of front.entries()) put(bytes, 2 * at, group);
  for (const [at, group] of back.entries()) put(bytes, 16 - 2 * (back.length - at), group);
  return bytes;
}

function numbersOf(group: string): number[] {
  if (!group.includes('.')) return [Number.parseInt(group, 16)];
  const [a = 0, b = 0, c = 0, d = 0] = group.split('.').map(Number);
  return [a * 256 + b, c * 256 + d];
}

function put(bytes: Uint8Array, at: number, group: number): void {
  bytes[at] = group >>> 8;
  bytes[at + 1] = group;
}
