/** Goal: a recorded session plays again, byte for byte, to the side that it was recorded at. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { simulatedEnv } from '../../sim/index.ts';
import { hasCode, type Stream } from '../core/index.ts';
import { SessionHost } from './host.ts';
import { BLOCK_DATA } from './messages/index.ts';
import { played, RECORDED_IN, RECORDED_OUT, readRecording, recorded } from './recording.ts';
import { Recorder, until, withPair } from './session.suite.ts';

async function record(): Promise<{ bytes: Uint8Array; bodies: Uint8Array[] }> {
  const parts: Uint8Array[] = [];
  let bodies: Uint8Array[] = [];
  const tap = (stream: Stream, clock: Parameters<typeof recorded>[1]['clock']) =>
    recorded(stream, { clock, append: (part) => void parts.push(part.slice()), bytesMax: 1e7 });
  await withPair({ tapHost: tap }, async ({ world, client, atServer }) => {
    for (let at = 0; at < 10; at += 1) {
      client.send({ type: BLOCK_DATA, parts: [new Uint8Array(5_000).fill(at)], priority: 2 });
    }
    await until(world, () => client.isIdle);
    bodies = atServer.messages.map(({ body }) => body);
  });
  return { bytes: Uint8Array.from(Buffer.concat(parts)), bodies };
}

test('a recorded session plays again to the side at which it was recorded', async () => {
  const { bytes, bodies } = await record();
  const chunks = readRecording(bytes);
  assert.ok(chunks.some(({ kind }) => kind === RECORDED_IN));
  assert.ok(chunks.some(({ kind }) => kind === RECORDED_OUT));
  const world = simulatedEnv(1);
  await world.run(async () => {
    const recorder = new Recorder();
    const admit = () => ({ identity: 'a recording', open: () => recorder });
    new SessionHost({ env: world.env, admit }).accept(played(chunks, world.env.clock));
    await recorder.closed.promise;
    assert.deepEqual(
      recorder.messages.map(({ body }) => body),
      bodies,
    );
  });
});

test('other bytes, a later version and a cut recording are refused', async () => {
  const { bytes } = await record();
  const later = bytes.slice();
  later[4] = 2;
  assert.throws(
    () => readRecording(later),
    (error) => hasCode(error, 'WIRE_LIMIT'),
  );
  for (const wrong of [bytes.subarray(1), bytes.subarray(0, 5), bytes.subarray(0, -1)]) {
    assert.throws(
      () => readRecording(wrong),
      (error) => hasCode(error, 'WIRE_FORMAT'),
    );
  }
});

test('a recording ends at its limit, with a whole chunk', async () => {
  const parts: Uint8Array[] = [];
  const world = simulatedEnv(2);
  const tap = recorded(played([], world.env.clock), {
    ...{ clock: world.env.clock, bytesMax: 100 },
    append: (part) => void parts.push(part.slice()),
  });
  for (let at = 0; at < 10; at += 1) tap.write([new Uint8Array(40)]);
  const chunks = readRecording(Uint8Array.from(Buffer.concat(parts)));
  assert.deepEqual(
    chunks.map(({ bytes }) => bytes.byteLength),
    [40, 40],
  );
});
