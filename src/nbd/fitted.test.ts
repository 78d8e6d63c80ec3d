/** Goal: what is no whole blocks changes exactly what was asked for on devices that have blocks. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DeviceError, FAST_ZERO, FUA } from '../device/index.ts';
import { FLAG_FAST_ZERO, FLAG_FUA, FLAG_NO_HOLE } from './constants.ts';
import { ENOTSUP } from './error-numbers.ts';
import {
  altered,
  MIB,
  readyClient,
  requestOf,
  serveDevice,
  smallMemory,
  takeSimple,
} from './loopback.suite.ts';

test('a write across several blocks of a 4 KiB device keeps what lies around it', async () => {
  const inner = smallMemory();
  const content = new Uint8Array(MIB).fill(9);
  await inner.write(content, 0, 0);
  const sizes = { minimumBytes: 4096, preferredBytes: 4096, maximumBytes: 8192 };
  await using server = await serveDevice(altered(inner, { blockSizes: sizes }));
  const rude = await readyClient(server);
  const ranges = [
    [1000, 6000],
    [20_480, 8000],
    [41_000, 30_000],
  ] as const;
  for (const [offsetBytes, lengthBytes] of ranges) {
    const request = { command: 1, offsetBytes, lengthBytes };
    rude.send(requestOf(request), new Uint8Array(lengthBytes).fill(5));
    assert.equal((await takeSimple(rude)).error, 0);
    content.fill(5, offsetBytes, offsetBytes + lengthBytes);
    rude.send(requestOf({ ...request, command: 6, lengthBytes: 4500 }));
    assert.equal((await takeSimple(rude)).error, 0);
    content.fill(0, offsetBytes, offsetBytes + 4500);
  }
  rude.stream.destroy();
  const seen = new Uint8Array(MIB);
  await inner.read(seen, 0);
  assert.ok(Buffer.from(seen.buffer).equals(content));
});

test('zeroes that a 4 KiB device cannot make fast change nothing at the edges either', async () => {
  const inner = smallMemory();
  await inner.write(new Uint8Array(MIB).fill(9), 0, 0);
  const device = altered(inner, {
    blockSizes: { minimumBytes: 4096, preferredBytes: 4096, maximumBytes: 8192 },
    write(source, offsetBytes, flags) {
      assert.equal(flags & ~FUA, 0, 'the flags of zero are not those of write');
      return inner.write(source, offsetBytes, flags);
    },
    zero(lengthBytes, offsetBytes, flags) {
      if ((flags & FAST_ZERO) === 0) return inner.zero(lengthBytes, offsetBytes, flags);
      throw new DeviceError('DEVICE_UNSUPPORTED', 'not fast', { hint: '' });
    },
  });
  await using server = await serveDevice(device);
  const rude = await readyClient(server);
  const request = { command: 6, offsetBytes: 1000, lengthBytes: 20_000 };
  rude.send(requestOf({ ...request, flags: FLAG_FAST_ZERO }));
  assert.equal((await takeSimple(rude)).error, ENOTSUP);
  const seen = new Uint8Array(MIB);
  await inner.read(seen, 0);
  assert.ok(seen.every((byte) => byte === 9));
  rude.send(requestOf({ ...request, flags: FLAG_NO_HOLE | FLAG_FUA }));
  assert.equal((await takeSimple(rude)).error, 0);
  await inner.read(seen, 0);
  assert.ok(seen.every((byte, at) => byte === (at >= 1000 && at < 21_000 ? 0 : 9)));
  rude.stream.destroy();
});
