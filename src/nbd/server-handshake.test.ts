/** Goal: options are answered as the protocol says, and only to those who read the answers. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Stream } from '../core/index.ts';
import {
  OPTION_ABORT,
  OPTION_EXTENDED_HEADERS,
  OPTION_LIST,
  OPTION_STRUCTURED_REPLY,
  REPLY_ACK,
  REPLY_ERROR_EXTENDED_HEADERS_REQUIRED,
} from './constants.ts';
import { ClientExports, ExportTable } from './exports.ts';
import { Inbound } from './inbound.ts';
import { HANDSHAKE_QUEUED_BYTES_MAX } from './limits.ts';
import { askOption, greetedClient, serveDevice, smallMemory } from './loopback.suite.ts';
import { optionBytes } from './option-codec.ts';
import { negotiate } from './server-handshake.ts';

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

/** A peer that takes nothing until it `reads`. */
function slowPeer() {
  const untaken: (() => void)[] = [];
  const peer = {
    queuedBytes: 0,
    isPaused: false,
    reads(): void {
      peer.queuedBytes = 0;
      for (const written of untaken.splice(0)) written();
    },
  };
  const stream: Stream = {
    peer: 'slow',
    start() {},
    write(buffers, written) {
      for (const { byteLength } of buffers) peer.queuedBytes += byteLength;
      if (written !== undefined) untaken.push(written);
      return true;
    },
    get queuedBytes() {
      return peer.queuedBytes;
    },
    pause() {
      peer.isPaused = true;
    },
    resume() {
      peer.isPaused = false;
    },
    end() {},
    destroy() {},
  };
  return { peer, stream };
}

test('replies to options wait for a client that does not read them', async () => {
  const { peer, stream } = slowPeer();
  const inbound = new Inbound(stream);
  const table = new ClientExports(new ExportTable(new Map([['n'.repeat(1000), smallMemory()]])));
  let hasEnded = false;
  const done = negotiate(stream, inbound, table, undefined).then(() => {
    hasEnded = true;
  });
  inbound.onBytes(Uint8Array.of(0, 0, 0, 3));
  const option = optionBytes(OPTION_LIST, new Uint8Array(0));
  const options = 5000;
  for (let count = 0; count < options; count += 1) inbound.onBytes(option);
  inbound.onBytes(optionBytes(OPTION_ABORT, new Uint8Array(0)));
  let rounds = 0;
  for (; !hasEnded && rounds < options; rounds += 1) {
    for (let wait = 0; wait < 5; wait += 1) await turn();
    assert.ok(peer.queuedBytes < HANDSHAKE_QUEUED_BYTES_MAX + 2000, `${peer.queuedBytes} wait`);
    if (rounds === 0) assert.ok(peer.isPaused, 'nothing more is taken from the socket');
    peer.reads();
  }
  await done;
  assert.ok(rounds > 10, `all was answered in ${rounds} rounds`);
});

test('a client that never reads its replies is given up when its time is over', async () => {
  const { stream } = slowPeer();
  const inbound = new Inbound(stream);
  const table = new ClientExports(new ExportTable(new Map([['n'.repeat(4000), smallMemory()]])));
  const done = negotiate(stream, inbound, table, undefined);
  inbound.onBytes(Uint8Array.of(0, 0, 0, 3));
  for (let count = 0; count < 100; count += 1) {
    inbound.onBytes(optionBytes(OPTION_LIST, new Uint8Array(0)));
  }
  await turn();
  inbound.fail(new Error('too slow'));
  await assert.rejects(done, /too slow/);
});

test('structured replies are no step back from extended headers', async () => {
  await using server = await serveDevice(smallMemory());
  const peer = await greetedClient(server);
  assert.deepEqual(await askOption(peer, OPTION_EXTENDED_HEADERS), [REPLY_ACK]);
  const [type] = await askOption(peer, OPTION_STRUCTURED_REPLY);
  assert.equal(type, REPLY_ERROR_EXTENDED_HEADERS_REQUIRED);
  assert.deepEqual(await askOption(peer, OPTION_EXTENDED_HEADERS), [REPLY_ACK]);
  peer.stream.destroy();
});
