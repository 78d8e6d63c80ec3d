/** Goal: a stream of overlapping requests has the effect of its order, whatever is in flight. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Draws } from '../../sim/index.ts';
import { nodeEnv } from '../../src/core/index.ts';
import { createFile, type Device, FUA, memory } from '../../src/device/index.ts';
import { connect, serve } from '../../src/nbd/index.ts';

const env = nodeEnv();
const folder = mkdtempSync(join(tmpdir(), 'ferry-replay-'));
after(() => rmSync(folder, { recursive: true }));

/** Small, so that almost every request overlaps others in flight. */
const VOLUME_BYTES = 256 * 1024;
const REQUESTS = 4000;
const IN_FLIGHT = 64;

type Recorded = {
  readonly kind: 'read' | 'write' | 'zero' | 'flush';
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly flags: number;
  readonly fill: number;
};

function recordedStream(seed: number): Recorded[] {
  const draws = new Draws(seed);
  return Array.from({ length: REQUESTS }, () => {
    // Whole pages take another way through the server than odd ranges.
    const unit = draws.pick([1, 512, 4096]);
    const lengthBytes = unit * (1 + draws.below(Math.ceil(draws.pick([4096, 20_000]) / unit)));
    const offsetBytes = unit * draws.below(Math.floor((VOLUME_BYTES - lengthBytes) / unit) + 1);
    const kind = draws.pick(['read', 'read', 'write', 'write', 'write', 'zero', 'flush'] as const);
    const flags = draws.chance(0.05) ? FUA : 0;
    return { kind, offsetBytes, lengthBytes, flags, fill: 1 + draws.below(255) };
  });
}

/** Sends in order on one connection; each read must see exactly what was sent before it. */
async function replay(device: Device, stream: readonly Recorded[]): Promise<Uint8Array> {
  const model = new Uint8Array(VOLUME_BYTES);
  const inFlight = new Set<Promise<void>>();
  for (const { kind, offsetBytes, lengthBytes, flags, fill } of stream) {
    const end = offsetBytes + lengthBytes;
    let answer: Promise<void>;
    if (kind === 'read') {
      const expected = model.slice(offsetBytes, end);
      const target = new Uint8Array(lengthBytes);
      answer = Promise.resolve(device.read(target, offsetBytes)).then(() => {
        const message = `${lengthBytes} bytes at ${offsetBytes}`;
        assert.ok(Buffer.compare(target, expected) === 0, message);
      });
    } else if (kind === 'write') {
      model.fill(fill, offsetBytes, end);
      const source = new Uint8Array(lengthBytes).fill(fill);
      answer = Promise.resolve(device.write(source, offsetBytes, flags));
    } else if (kind === 'zero') {
      model.fill(0, offsetBytes, end);
      answer = Promise.resolve(device.zero(lengthBytes, offsetBytes, flags));
    } else answer = Promise.resolve(device.flush());
    const settled = answer.finally(() => inFlight.delete(settled));
    inFlight.add(settled);
    if (inFlight.size >= IN_FLIGHT) await Promise.race(inFlight);
  }
  await Promise.all(inFlight);
  return model;
}

for (const kind of ['memory', 'file'] as const) {
  for (const seed of [1, 2, 3]) {
    test(`stream ${seed} replays on a ${kind} with every read as in the model`, async () => {
      const path = join(folder, `${kind}-${seed}`);
      await using device =
        kind === 'memory'
          ? memory('replay', VOLUME_BYTES)
          : await createFile(env.files, path, VOLUME_BYTES);
      const address = { kind: 'unix', path: `${path}.sock` } as const;
      await using server = await serve(env, { address, exports: new Map([['', device]]) });
      await using client = await connect(env, server.uri);
      const model = await replay(client, recordedStream(seed));
      const content = new Uint8Array(VOLUME_BYTES);
      await device.read(content, 0);
      assert.ok(Buffer.compare(content, model) === 0, 'the final contents differ');
    });
  }
}
