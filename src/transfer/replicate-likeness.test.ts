/** Goal: what resembles something of the volume travels as a patch, and arrives as it is. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { simulatedEnv, type World } from '../../sim/index.ts';
import { type Env, equalBytes, sha256, writeFully } from '../core/index.ts';
import { memory } from '../device/index.ts';
import { type TrackedDevice, Tracker, tracked } from '../track/index.ts';
import { PLACES } from '../wire/index.ts';
import {
  type Agent,
  keepReplica,
  Likeness,
  type Provider,
  TrackedSource,
} from './replicate/index.ts';
import { makePlace } from './replicate.suite.ts';
import { connect, serve } from './replicate-simulation.suite.ts';

const KIB = 1024;
const SIZE = 8 * 1024 * KIB + 1000;
const SAMPLES = '/t/samples';

/** Bytes that do not compress, and repeat nowhere. */
function noise(lengthBytes: number, seed: number): Uint8Array {
  const parts = Array.from({ length: Math.ceil(lengthBytes / 32) }, (_, at) =>
    sha256(Uint8Array.of(seed, at, at >> 8, at >> 16)),
  );
  return Uint8Array.from(Buffer.concat(parts)).subarray(0, lengthBytes);
}

type Here = {
  readonly env: Env;
  readonly device: TrackedDevice;
  readonly provider: Provider;
  likeness: Likeness;
  source: TrackedSource;
};

async function withVolume(work: (here: Here, world: World) => Promise<void>): Promise<void> {
  const world = simulatedEnv(5);
  await world.run(async () => {
    const { env } = world;
    await makePlace(env);
    await env.files.makeDirectory('/t');
    const provider = await serve(env, 1);
    const identify = async () => undefined;
    const where = { directory: '/t', volume: 'vol', sizeBytes: SIZE, identify };
    await using tracker = await Tracker.open(env, where);
    const device = tracked({ base: memory('volume', SIZE), tracker });
    const likeness = await Likeness.open(env, { path: SAMPLES, sizeBytes: SIZE });
    const source = sourceOf(env, device, likeness);
    await work({ env, device, provider, likeness, source }, world);
  });
}

const preImages = new WeakMap<TrackedDevice, ReturnType<TrackedDevice['keepPreImages']>>();

function sourceOf(env: Env, device: TrackedDevice, likeness: Likeness): TrackedSource {
  const images = preImages.get(device) ?? device.keepPreImages(64 * 1024 * KIB);
  preImages.set(device, images);
  return new TrackedSource({
    ...{ device, volume: 'vol', files: env.files, clock: env.clock, directory: '/t' },
    ...{ roomBytesMax: SIZE, number: 0, preImages: images, likeness },
  });
}

/** Sends one epoch; answers the bytes that it took. */
async function sent({ env, source, provider, device }: Here, open = connect): Promise<number> {
  const { report } = await keepReplica(env, { name: 'vol', source, connect: () => open(env) });
  const replica = await provider.replica('vol', 'agent', SIZE);
  const [here, there] = [new Uint8Array(SIZE), await replica.read(0, SIZE)];
  await device.read(here, 0);
  assert.ok(equalBytes(here, there), 'the ends are not equal');
  return report?.sentBytes ?? 0;
}

const book = noise(512 * KIB, 1);

test('what is moved, with changes, is a patch against where it was, also after a restart', async () => {
  await withVolume(async (here) => {
    await here.device.write(book, 64 * KIB, 0);
    assert.ok((await sent(here)) > book.byteLength);
    await here.device.write(book.subarray(10_000, 210_000), 4096 * KIB + 4096, 0);
    assert.ok((await sent(here)) < 20_000);
    await here.likeness.save({ isLast: true });
    here.likeness = await Likeness.open(here.env, { path: SAMPLES, sizeBytes: SIZE });
    here.source = sourceOf(here.env, here.device, here.likeness);
    await here.device.write(book.subarray(250_001, 450_001), 2048 * KIB, 0);
    assert.ok((await sent(here)) < 20_000);
  });
});

test('what an epoch holds twice is sent once', async () => {
  await withVolume(async (here) => {
    await sent(here);
    await here.device.write(book, 0, 0);
    await here.device.write(book, 4096 * KIB + 5000, 0);
    const bytes = await sent(here);
    assert.ok(bytes > book.byteLength && bytes < 1.5 * book.byteLength, `${bytes} bytes`);
  });
});

test('what a patch would stand on may be overwritten, before the epoch and while it is sent', async () => {
  await withVolume(async (here) => {
    await here.device.write(book, 0, 0);
    await sent(here);
    // Its pre-image is known: what it held is stood on all the same.
    await here.device.write(noise(256 * KIB, 2), 0, 0);
    await here.device.write(book.subarray(0, 256 * KIB), 4096 * KIB + 512, 0);
    assert.ok((await sent(here)) < 256 * KIB * 1.2);
    await here.device.write(book.subarray(256 * KIB), 6000 * KIB + 512, 0);
    const { report } = await keepReplica(here.env, {
      ...{ name: 'vol', source: here.source, connect: () => connect(here.env) },
      onCut: () => void Promise.resolve().then(() => here.device.write(book, 300 * KIB, 0)),
    });
    assert.ok(report!.sentBytes > 0);
    await sent(here);
  });
});

test('a provider that does not know of places gets none', async () => {
  await withVolume(async (here) => {
    await here.device.write(book, 0, 0);
    await sent(here);
    await here.device.write(book.subarray(0, 256 * KIB), 4096 * KIB + 512, 0);
    const bytes = await sent(here, async (env) => {
      const agent = await connect(env);
      const hello = agent.session.peerHello!;
      const capabilities = hello.capabilities.filter((name) => name !== PLACES);
      assert.equal(capabilities.length, hello.capabilities.length - 1);
      Object.defineProperty(agent.session, 'peerHello', { value: { ...hello, capabilities } });
      return agent satisfies Agent;
    });
    assert.ok(bytes > 256 * KIB);
  });
});

test('samples that are damaged, or were left half written, are as good as none', async () => {
  await withVolume(async (here) => {
    await here.device.write(book, 0, 0);
    await sent(here);
    await here.likeness.save({ isLast: true });
    const { files } = here.env;
    const file = await files.open(SAMPLES, 'update');
    await writeFully(file, Uint8Array.of(1, 2, 3), 500);
    await file.close();
    const torn = await files.open(`${SAMPLES}.0011`, 'create');
    await torn.close();
    here.likeness = await Likeness.open(here.env, { path: SAMPLES, sizeBytes: SIZE });
    here.source = sourceOf(here.env, here.device, here.likeness);
    assert.ok(!(await files.list('/t')).includes('samples.0011'));
    await here.device.write(book.subarray(0, 256 * KIB), 4096 * KIB + 512, 0);
    assert.ok((await sent(here)) > 256 * KIB);
  });
});
