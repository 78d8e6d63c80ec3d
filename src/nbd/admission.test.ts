/** Goal: requests that are short to ask for and long to answer leave others their turn. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connect } from './connect.ts';
import {
  COMMAND_BLOCK_STATUS,
  COMMAND_READ,
  COMMAND_WRITE_ZEROES,
  FLAG_NO_HOLE,
  OPTION_STRUCTURED_REPLY,
} from './constants.ts';
import { STATUS_JOBS_MAX } from './limits.ts';
import {
  altered,
  env,
  MIB,
  readyClient,
  requestOf,
  serveDevice,
  smallMemory,
  takeSimple,
} from './loopback.suite.ts';

test('status requests, which cost the most, are answered few at a time', async () => {
  const inner = smallMemory();
  let running = 0;
  let mostRunning = 0;
  const device = altered(inner, {
    async extents(lengthBytes, offsetBytes, limit) {
      running += 1;
      mostRunning = Math.max(mostRunning, running);
      await new Promise((resolve) => setImmediate(resolve));
      running -= 1;
      return inner.extents(lengthBytes, offsetBytes, limit);
    },
  });
  await using server = await serveDevice(device);
  const peer = await readyClient(server, { options: [OPTION_STRUCTURED_REPLY] });
  // Without a context a request is refused, and takes nobody's place.
  const count = 200;
  const request = requestOf({ command: COMMAND_BLOCK_STATUS, lengthBytes: MIB });
  peer.send(...Array.from({ length: count }, () => request));
  for (let at = 0; at < count; at += 1) await peer.inbound.take(20 + 6);
  assert.equal(mostRunning, 0);
  peer.stream.destroy();
  await using client = await connect(env, server.uri, { replies: 'structured' });
  const all = Array.from({ length: count }, () => client.extents(MIB, 0, 9));
  for (const extents of await Promise.all(all)) assert.equal(extents.length, 1);
  assert.equal(mostRunning, STATUS_JOBS_MAX);
});

test('zeroes of gigabytes at once let others have their turn', async () => {
  const inner = smallMemory(2 ** 40);
  let zeroed = 0;
  const device = altered(inner, {
    zero() {
      zeroed += 1;
    },
  });
  await using server = await serveDevice(device);
  const other = await readyClient(server);
  const peer = await readyClient(server);
  const count = 50;
  const request = requestOf({
    command: COMMAND_WRITE_ZEROES,
    flags: FLAG_NO_HOLE,
    lengthBytes: 2 ** 31,
  });
  peer.send(...Array.from({ length: count }, () => request));
  const answers = (async () => {
    for (let at = 0; at < count; at += 1) assert.equal((await takeSimple(peer)).error, 0);
  })();
  other.send(requestOf({ command: COMMAND_READ, lengthBytes: 1 }));
  await takeSimple(other);
  assert.ok(zeroed < count, 'the other one did not wait for all of them');
  await answers;
  assert.equal(zeroed, count);
  for (const each of [other, peer]) each.stream.destroy();
});
