/** Goal: SIGTERM ends a server in seconds, whatever its clients do, with flushed data safe. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { test } from 'node:test';
import { connect } from '../../src/nbd/index.ts';
import { env, MIB, noise, place, writeImage } from './ferry.ts';

const SIZE = 8 * MIB;
const BLOCK = 16_384;
/** What a service manager waits for before it kills. */
const PROMISED_MS = 10_000;

test('with writes in flight and clients that stand still, SIGTERM ends in time', async () => {
  await using here = await place();
  await writeImage(here.path('disk.img'), SIZE, {});
  const server = await here.serve('export', 'disk.img', '--listen', 'unix:nbd.sock');
  // One that never says a word, and one that has agreed and says nothing more.
  const silent = createConnection(here.path('nbd.sock'));
  silent.on('error', () => undefined).resume();
  const idle = await connect(env, server.uri, { reconnectTimeoutMs: 0 });
  const busy = await connect(env, server.uri, { reconnectTimeoutMs: 0 });
  const model = Buffer.alloc(SIZE);
  const flushed = noise(MIB, 1);
  await busy.write(flushed, 0, 0);
  await busy.flush();
  model.set(flushed, 0);
  let acknowledged = 0;
  const begun = Promise.withResolvers<void>();
  async function write(writer: number): Promise<void> {
    for (let at = MIB + writer * BLOCK; at < SIZE; at += 8 * BLOCK) {
      const source = noise(BLOCK, at);
      await busy.write(source, at, 0);
      model.set(source, at);
      acknowledged += 1;
      if (acknowledged === 8) begun.resolve();
    }
  }
  const writing = Promise.allSettled(Array.from({ length: 8 }, (_, writer) => write(writer)));
  await begun.promise;
  server.kill('SIGTERM');
  const { exitCode, stderr } = await server.finished(PROMISED_MS);
  assert.equal(exitCode, 0, stderr);
  await writing;
  // A clean stop keeps all that was acknowledged, and what was flushed in any case.
  const content = await readFile(here.path('disk.img'));
  for (let at = 0; at < SIZE; at += BLOCK) {
    const expected = model.subarray(at, at + BLOCK);
    if (expected.every((byte) => byte === 0)) continue; // Was not acknowledged.
    assert.ok(expected.equals(content.subarray(at, at + BLOCK)), `block at ${at}`);
  }
  silent.destroy();
  for (const device of [idle, busy]) {
    await Promise.resolve(device[Symbol.asyncDispose]()).catch(() => undefined);
  }
});
