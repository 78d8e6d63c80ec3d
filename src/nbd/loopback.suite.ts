/** What the NBD tests share: servers on throw-away sockets, and peers that speak in raw bytes. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { type Address, nodeEnv, type Stream } from '../core/index.ts';
import { type Device, memory } from '../device/index.ts';
import { getU32, putU32 } from './big-endian.ts';
import { OPTION_GO, REPLY_ACK, REPLY_ERROR } from './constants.ts';
import type { Exports } from './exports.ts';
import { Inbound } from './inbound.ts';
import { encodeInfoRequest, GREETING_BYTES, optionBytes } from './option-codec.ts';
import { putRequest, type Request, requestBytes } from './request-codec.ts';
import { type NbdServer, type ServeOptions, serve } from './server.ts';

export const env = nodeEnv();

const folder = await mkdtemp(join(tmpdir(), 'ferry-nbd-'));
after(() => rm(folder, { recursive: true }));
let sockets = 0;

export function freshAddress(): Address {
  sockets += 1;
  return { kind: 'unix', path: join(folder, `${sockets}.sock`) };
}

/** Serves one device as the default export, or whatever `exports` says. */
export function serveDevice(
  exports: Device | Exports,
  options: Partial<ServeOptions> = {},
): Promise<NbdServer> {
  const table = 'blockSizes' in exports ? new Map([['', exports]]) : exports;
  return serve(env, { address: freshAddress(), exports: table, ...options });
}

/** One end of a connection that says whatever a test makes it say. */
export type RawPeer = {
  readonly stream: Stream;
  readonly inbound: Inbound;
  /** Resolves when the other side has closed in both directions, or broken off. */
  readonly closed: Promise<unknown>;
  /** Resolves when the other side sends no more. */
  readonly ended: Promise<unknown>;
  send(...parts: (Uint8Array | readonly number[])[]): void;
};

export function rawPeer(stream: Stream): RawPeer {
  const inbound = new Inbound(stream);
  const closed = Promise.withResolvers<unknown>();
  const ended = Promise.withResolvers<unknown>();
  stream.start({
    onBytes: (view) => inbound.onBytes(view),
    onDrained() {},
    onEnd: () => {
      inbound.fail(new Error('the other side ended'));
      ended.resolve(undefined);
    },
    onClosed: (error) => {
      inbound.fail(new Error('the other side closed'));
      ended.resolve(undefined);
      closed.resolve(error);
    },
  });
  return {
    stream,
    inbound,
    closed: closed.promise,
    ended: ended.promise,
    send: (...parts) => void stream.write(parts.map((part) => Uint8Array.from(part))),
  };
}

export async function rawClient(server: NbdServer): Promise<RawPeer> {
  return rawPeer(await env.net.connect(server.address, 5_000));
}

/** A client that has read the greeting and sent its flags. */
export async function greetedClient(server: NbdServer): Promise<RawPeer> {
  const peer = await rawClient(server);
  await peer.inbound.take(GREETING_BYTES);
  peer.send([0, 0, 0, 3]);
  return peer;
}

/** Sends an option and answers the types of the replies, the last one included. */
export async function askOption(
  peer: RawPeer,
  option: number,
  data: Uint8Array = new Uint8Array(0),
): Promise<number[]> {
  peer.send(optionBytes(option, data));
  return await optionReplies(peer);
}

export async function optionReplies(peer: RawPeer): Promise<number[]> {
  const types: number[] = [];
  for (;;) {
    const header = await peer.inbound.take(20);
    await peer.inbound.take(getU32(header, 16));
    const type = getU32(header, 12);
    types.push(type);
    if (type === REPLY_ACK || type >= REPLY_ERROR) return types;
  }
}

/** A client that is past GO. */
export async function readyClient(
  server: NbdServer,
  { options = [], name = '' }: { options?: readonly number[]; name?: string } = {},
): Promise<RawPeer> {
  const peer = await greetedClient(server);
  for (const option of options) await askOption(peer, option);
  await askOption(peer, OPTION_GO, encodeInfoRequest({ name, infos: [] }));
  return peer;
}

export function requestOf(request: Partial<Request>, extended = false): Uint8Array {
  const bytes = new Uint8Array(requestBytes(extended));
  const empty = { flags: 0, command: 0, cookieHigh: 0, cookieLow: 0 };
  putRequest(bytes, 0, { ...empty, offsetBytes: 0, lengthBytes: 0, ...request }, extended);
  return bytes;
}

/** A simple reply: its error and the low half of its cookie. */
export async function takeSimple(peer: RawPeer): Promise<{ error: number; cookie: number }> {
  const header = await peer.inbound.take(16);
  return { error: getU32(header, 4), cookie: getU32(header, 12) };
}

export function u32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  putU32(bytes, 0, value);
  return bytes;
}

/** Spells out every method, as each wrapper must; `changes` replace some. */
export function altered(device: Device, changes: Partial<Device>): Device {
  return {
    name: device.name,
    sizeBytes: device.sizeBytes,
    blockSizes: device.blockSizes,
    readOnly: device.readOnly,
    hints: device.hints,
    durable: device.durable,
    read: (target, offsetBytes) => device.read(target, offsetBytes),
    write: (source, offsetBytes, flags) => device.write(source, offsetBytes, flags),
    flush: () => device.flush(),
    zero: (length, offsetBytes, flags) => device.zero(length, offsetBytes, flags),
    trim: (length, offsetBytes, flags) => device.trim(length, offsetBytes, flags),
    extents: (length, offsetBytes, limit) => device.extents(length, offsetBytes, limit),
    [Symbol.asyncDispose]: () => device[Symbol.asyncDispose](),
    ...changes,
  };
}

export const MIB = 1024 * 1024;

export function smallMemory(sizeBytes = MIB): Device {
  return memory('test', sizeBytes);
}
