/** A server that says what a test makes it say: for tests of what the client believes. */
import assert from 'node:assert/strict';
import { getU32, putU16, putU32, putU64 } from './big-endian.ts';
import type { NbdDevice } from './client.ts';
import { type ConnectOptions, connect } from './connect.ts';
import {
  CHUNK_DONE,
  OPTION_GO,
  OPTION_SET_META_CONTEXT,
  OPTION_STRUCTURED_REPLY,
  REPLY_ACK,
  REPLY_ERROR_UNSUPPORTED,
  REPLY_INFO,
  REPLY_META_CONTEXT,
} from './constants.ts';
import { env, freshAddress, MIB, type RawPeer, rawPeer } from './loopback.suite.ts';
import {
  encodeBlockSizeInfo,
  encodeContext,
  encodeExportInfo,
  greeting,
  optionReplyBytes,
} from './option-codec.ts';
import { putChunk, putSimple, STYLE_STRUCTURED } from './reply-codec.ts';
import { emptyRequest, getRequest, type Request } from './request-codec.ts';

export type Manner = {
  readonly structured?: boolean;
  readonly exportInfo?: Uint8Array;
  readonly blockSizes?: Parameters<typeof encodeBlockSizeInfo>[0];
  /** Replaces the whole handshake. */
  readonly handshake?: (peer: RawPeer) => Promise<void>;
  /** Answers one request; the payload of a write has been read. */
  readonly answer?: (peer: RawPeer, request: Request) => void;
};

export const nothing = new Uint8Array(0);
export const flagsOfAll = 0x1ed;

/** Starts a server of bad manners and hands its URI to `use`. */
export async function withServer(
  manner: Manner,
  use: (open: (options?: ConnectOptions) => Promise<NbdDevice>) => Promise<void>,
): Promise<void> {
  const address = freshAddress();
  const peers: RawPeer[] = [];
  const listener = await env.net.listen(address, (stream) => {
    const peer = rawPeer(stream);
    peers.push(peer);
    void peer.ended.then(() => peer.stream.end());
    void converse(peer, manner).catch(() => {}); // The client has left, as it should.
  });
  const timeouts = { connectTimeoutMs: 5_000, answerTimeoutMs: 20_000, reconnectTimeoutMs: 0 };
  try {
    await use((options = {}) =>
      connect(env, { address, tls: false, exportName: '' }, { ...timeouts, ...options }),
    );
  } finally {
    for (const peer of peers) peer.stream.destroy();
    await listener.close();
  }
}

async function converse(peer: RawPeer, manner: Manner): Promise<void> {
  if (manner.handshake !== undefined) await manner.handshake(peer);
  else {
    peer.send(greeting(3));
    await peer.inbound.take(4);
    while (await answerOption(peer, manner));
  }
  const request = emptyRequest();
  for (;;) {
    assert.ok(getRequest(await peer.inbound.take(28), 0, request, false));
    if (request.command === 1) await peer.inbound.take(request.lengthBytes);
    manner.answer?.(peer, { ...request });
  }
}

/** False after GO. */
async function answerOption(peer: RawPeer, manner: Manner): Promise<boolean> {
  const header = await peer.inbound.take(16);
  const option = getU32(header, 8);
  await peer.inbound.take(getU32(header, 12));
  const reply = (type: number, data: Uint8Array = nothing) =>
    peer.send(optionReplyBytes(option, type, data));
  if (option === OPTION_STRUCTURED_REPLY && manner.structured !== false) reply(REPLY_ACK);
  else if (option === OPTION_SET_META_CONTEXT) {
    reply(REPLY_META_CONTEXT, encodeContext(1, 'base:allocation'));
    reply(REPLY_ACK);
  } else if (option === OPTION_GO) {
    reply(REPLY_INFO, manner.exportInfo ?? encodeExportInfo(MIB, flagsOfAll));
    if (manner.blockSizes) reply(REPLY_INFO, encodeBlockSizeInfo(manner.blockSizes));
    reply(REPLY_ACK);
    return false;
  } else reply(REPLY_ERROR_UNSUPPORTED);
  return true;
}

export function chunk(
  request: Request,
  type: number,
  payload: Uint8Array = nothing,
  { flags = CHUNK_DONE, lengthBytes = payload.byteLength } = {},
): Uint8Array {
  const bytes = new Uint8Array(20 + payload.byteLength);
  putChunk(bytes, 0, request, STYLE_STRUCTURED, flags, type, lengthBytes);
  bytes.set(payload, 20);
  return bytes;
}

export function data(offsetBytes: number, bytes: Uint8Array): Uint8Array {
  const payload = new Uint8Array(8 + bytes.byteLength);
  putU64(payload, 0, offsetBytes);
  payload.set(bytes, 8);
  return payload;
}

export function hole(offsetBytes: number, lengthBytes: number): Uint8Array {
  const payload = new Uint8Array(12);
  putU64(payload, 0, offsetBytes);
  putU32(payload, 8, lengthBytes);
  return payload;
}

export function errorPayload(number: number, text = ''): Uint8Array {
  const payload = new Uint8Array(6 + text.length);
  putU32(payload, 0, number);
  putU16(payload, 4, text.length);
  payload.set(Buffer.from(text), 6);
  return payload;
}

export function simple(request: Request): Uint8Array {
  const bytes = new Uint8Array(16);
  putSimple(bytes, 0, request, 0);
  return bytes;
}
