/** Many datagrams per system call: sendmmsg(2) and recvmmsg(2), through koffi. */
import { createRequire } from 'node:module';
import { endianness } from 'node:os';
import { native } from './native.ts';

/** Datagrams of one call. */
export const BATCH_MAX = 64;
/** Longer ones are cut, and so refused by whoever reads them. */
export const SLOT_BYTES = 2048;

const DONT_WAIT = 0x40;
/** struct mmsghdr and struct iovec on 64-bit systems, in words of 32 bits. */
const HEADER_WORDS = 16;
const VECTOR_WORDS = 4;
const NAME_BYTES = 28; // sockaddr_in6
const SOCKET_LEVEL = 1;
const SEND_BUFFER_FORCED = 32;
const RECEIVE_BUFFER_FORCED = 33;

type Call = (fd: number, headers: Uint32Array, count: number, flags: number) => number;
type Receive = (...values: [number, Uint32Array, number, number, null]) => number;

export type DatagramCalls = {
  /** How many were sent; negative if not even the first was. `name` is a sockaddr. */
  send(
    fd: number,
    datagrams: readonly Uint8Array[],
    from: number,
    to: number,
    name: Uint8Array,
  ): number;
  /** How many have come; they lie in `slots`, with `lengthOf` and `nameOf`. */
  receive(fd: number): number;
  readonly slots: readonly Uint8Array[];
  lengthOf(index: number): number;
  /** The sender's sockaddr; overwritten by the next call. */
  nameOf(index: number): Uint8Array;
  /** Beyond the limit that the system has for all; needs root, and does nothing without. */
  forceBuffers(fd: number, bytes: number): void;
};

let loaded: DatagramCalls | null | undefined;

/** Null where there are none: Node sends and receives one by one then. */
export function datagramCalls(): DatagramCalls | null {
  if (loaded === undefined) loaded = load();
  return loaded;
}

function load(): DatagramCalls | null {
  const is64Bit = process.arch === 'x64' || process.arch === 'arm64';
  if (process.platform !== 'linux' || !is64Bit || endianness() !== 'LE') return null;
  const calls = native();
  if (calls === undefined) return null;
  try {
    const koffi = createRequire(import.meta.url)('koffi');
    const libc = koffi.load(null);
    return bind(calls.addressOf, libc);
  } catch {
    return null;
  }
}

type Library = { func(prototype: string): unknown };

function bind(addressOf: (bytes: Uint8Array) => number, libc: Library): DatagramCalls {
  const sendMany = libc.func('int sendmmsg(int, void *, uint32_t, int)') as Call;
  const receiveMany = libc.func('int recvmmsg(int, void *, uint32_t, int, void *)') as Receive;
  const setOption = libc.func('int setsockopt(int, int, int, void *, uint32_t)') as (
    ...values: [number, number, number, Uint32Array, number]
  ) => number;
  const outgoing = messages(addressOf);
  const incoming = messages(addressOf);
  const memory = new Uint8Array(BATCH_MAX * SLOT_BYTES);
  const start = addressOf(memory);
  const slots: Uint8Array[] = [];
  for (let at = 0; at < BATCH_MAX; at += 1) {
    slots.push(memory.subarray(at * SLOT_BYTES, (at + 1) * SLOT_BYTES));
    incoming.vector(at, start + at * SLOT_BYTES, SLOT_BYTES);
  }
  const bases = new WeakMap<ArrayBufferLike, number>();
  const baseOf = (buffer: ArrayBufferLike): number => {
    const known = bases.get(buffer);
    if (known !== undefined) return known;
    const base = addressOf(new Uint8Array(buffer));
    bases.set(buffer, base);
    return base;
  };
  return {
    slots,
    send(fd, datagrams, from, to, name) {
      const count = Math.min(BATCH_MAX, to - from);
      for (let at = 0; at < count; at += 1) {
        const datagram = datagrams[from + at]!;
        outgoing.vector(at, baseOf(datagram.buffer) + datagram.byteOffset, datagram.byteLength);
        outgoing.name(at, name);
      }
      return sendMany(fd, outgoing.headers, count, DONT_WAIT);
    },
    receive(fd) {
      for (let at = 0; at < BATCH_MAX; at += 1) incoming.resetName(at);
      return receiveMany(fd, incoming.headers, BATCH_MAX, DONT_WAIT, null);
    },
    lengthOf: (index) => incoming.headers[index * HEADER_WORDS + 14]!,
    nameOf: (index) => incoming.names.subarray(index * NAME_BYTES, (index + 1) * NAME_BYTES),
    forceBuffers(fd, bytes) {
      const value = Uint32Array.of(bytes);
      setOption(fd, SOCKET_LEVEL, SEND_BUFFER_FORCED, value, 4);
      setOption(fd, SOCKET_LEVEL, RECEIVE_BUFFER_FORCED, value, 4);
    },
  };
}

/** Headers that point at vectors and names, written once; only what changes is written again. */
function messages(addressOf: (bytes: Uint8Array) => number) {
  const headers = new Uint32Array(BATCH_MAX * HEADER_WORDS);
  const vectors = new Uint32Array(BATCH_MAX * VECTOR_WORDS);
  const names = new Uint8Array(BATCH_MAX * NAME_BYTES);
  const vectorsAt = addressOf(new Uint8Array(vectors.buffer));
  const namesAt = addressOf(names);
  const pointer = (words: Uint32Array, at: number, address: number) => {
    words[at] = address % 2 ** 32;
    words[at + 1] = Math.floor(address / 2 ** 32);
  };
  for (let at = 0; at < BATCH_MAX; at += 1) {
    const word = at * HEADER_WORDS;
    pointer(headers, word, namesAt + at * NAME_BYTES);
    headers[word + 2] = NAME_BYTES;
    pointer(headers, word + 4, vectorsAt + at * VECTOR_WORDS * 4);
    headers[word + 6] = 1;
  }
  return {
    headers,
    names,
    vector(at: number, address: number, lengthBytes: number) {
      pointer(vectors, at * VECTOR_WORDS, address);
      vectors[at * VECTOR_WORDS + 2] = lengthBytes;
    },
    name(at: number, name: Uint8Array) {
      names.set(name, at * NAME_BYTES);
      headers[at * HEADER_WORDS + 2] = name.byteLength;
    },
    resetName(at: number) {
      headers[at * HEADER_WORDS + 2] = NAME_BYTES;
    },
  };
}
