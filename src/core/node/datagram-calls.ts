/** Many datagrams per system call: sendmmsg(2) and recvmmsg(2), through koffi. */
import { createRequire } from 'node:module';
import { endianness } from 'node:os';
import { DONT_WAIT, type LinuxCalls, linuxCalls } from './linux-calls.ts';
import { type Locate, locator, native } from './native.ts';

/** Datagrams of one call. */
export const BATCH_MAX = 64;
/** Longer ones are cut, and so refused by whoever reads them. */
export const SLOT_BYTES = 2048;

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
    return bind(locator(calls.addressOf), libc, linuxCalls());
  } catch {
    return null;
  }
}

type Library = { func(prototype: string): unknown };

function bind(locate: Locate, libc: Library, { setOption }: LinuxCalls): DatagramCalls {
  const sendMany = libc.func('int sendmmsg(int, void *, uint32_t, int)') as Call;
  const receiveMany = libc.func('int recvmmsg(int, void *, uint32_t, int, void *)') as Receive;
  const outgoing = messages(locate);
  const incoming = messages(locate);
  const memory = new Uint8Array(BATCH_MAX * SLOT_BYTES);
  const slots: Uint8Array[] = [];
  for (let at = 0; at < BATCH_MAX; at += 1) {
    const slot = memory.subarray(at * SLOT_BYTES, (at + 1) * SLOT_BYTES);
    slots.push(slot);
    incoming.vector(at, slot);
  }
  return {
    slots,
    send(fd, datagrams, from, to, name) {
      const count = Math.min(BATCH_MAX, to - from);
      for (let at = 0; at < count; at += 1) {
        outgoing.vector(at, datagrams[from + at]!);
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
      const value = new Uint8Array(Uint32Array.of(bytes).buffer);
      setOption(fd, SOCKET_LEVEL, SEND_BUFFER_FORCED, value);
      setOption(fd, SOCKET_LEVEL, RECEIVE_BUFFER_FORCED, value);
    },
  };
}

/** Headers that point at vectors and names, written once; only what changes is written again. */
function messages(locate: Locate) {
  const headers = new Uint32Array(BATCH_MAX * HEADER_WORDS);
  const vectors = new Uint32Array(BATCH_MAX * VECTOR_WORDS);
  const names = new Uint8Array(BATCH_MAX * NAME_BYTES);
  for (let at = 0; at < BATCH_MAX; at += 1) {
    const word = at * HEADER_WORDS;
    locate(headers, word, names.subarray(at * NAME_BYTES, (at + 1) * NAME_BYTES));
    const vector = at * VECTOR_WORDS;
    locate(headers, word + 4, new Uint8Array(vectors.buffer, vector * 4, VECTOR_WORDS * 4));
    headers[word + 6] = 1; // Vectors, where `locate` writes bytes.
  }
  return {
    headers,
    names,
    vector(at: number, bytes: Uint8Array) {
      locate(vectors, at * VECTOR_WORDS, bytes);
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
