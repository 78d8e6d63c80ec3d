/** Mutated client sessions against the server, in a simulated world. */
import assert from 'node:assert/strict';
import { Draws, simulatedEnv } from '../../sim/index.ts';
import type { Env, Stream } from '../../src/core/index.ts';
import { type Answer, type Device, memory } from '../../src/device/index.ts';
import { connect, serve } from '../../src/nbd/index.ts';
import { fragments, mutated } from './mutation.suite.ts';
import { address, halfOf, recordSessions, uri, VOLUME_BYTES } from './nbd-recording.suite.ts';

/** A peer that says nothing more is left alone for so long, then it goes. */
const PATIENCE_MS = 200_000;
/** One that has ended its side and reads is seen off sooner: a handshake's time and a goodbye's. */
const FAREWELL_MS = 41_000;
/** What the server may take to end; it promises 5 s for requests in flight, 10 s for goodbyes. */
const END_MS = 16_000;

/** Prepared: one trial per seed. */
export async function nbdServerTrials(): Promise<(seed: number) => Promise<void>> {
  const sessions = (await recordSessions()).map((recording) => halfOf(recording, true));
  return (seed) => trial(seed, sessions);
}

async function trial(seed: number, sessions: readonly Uint8Array[]): Promise<void> {
  const draws = new Draws(seed, 1);
  const world = simulatedEnv(seed);
  await world.run(async () => {
    const exports = new Map([['disk', checked(world.env, draws)]]);
    const server = await serve(world.env, { address, exports, heldBytesMax: 4 * 2 ** 20 });
    const clients = Array.from({ length: draws.pick([1, 1, 2, 4]) }, (_, index) =>
      badClient(world.env, new Draws(seed, 2, index), sessions),
    );
    if (draws.chance(0.5)) await honestClient(world.env);
    if (draws.chance(0.8)) await Promise.all(clients);
    const startMs = world.nowMs;
    if (draws.chance(0.9)) await honestClient(world.env);
    await server.close();
    assert.ok(world.nowMs - startMs < END_MS, `ending took ${world.nowMs - startMs} ms`);
    await Promise.all(clients);
    // Whoever was cut off hears of it a moment later.
    await passed(world.env, 1000);
    assert.equal(server.connectionCount, 0, 'connections are left');
  });
}

/** Memory that answers now or later, and never hears of a range outside of itself. */
function checked(env: Env, draws: Draws): Device {
  const device = memory('disk', VOLUME_BYTES);
  const isLate = draws.chance(0.6);
  function answer<T>(act: () => Answer<T>): Answer<T> {
    if (!isLate || draws.chance(0.3)) return act();
    return new Promise<T>((resolve, reject) => {
      env.clock.after(draws.pick([0, 1, 30]), () => {
        if (draws.chance(0.05)) reject(new Error('the medium failed'));
        else resolve(act());
      });
    });
  }
  const inside = (lengthBytes: number, offsetBytes: number): void => {
    const isInside = lengthBytes >= 0 && offsetBytes >= 0;
    if (isInside && offsetBytes + lengthBytes <= VOLUME_BYTES) return;
    // Outside of any request's error handling, which would take it for the device's own failure.
    queueMicrotask(() => assert.fail(`the device was asked for ${lengthBytes} at ${offsetBytes}`));
  };
  return {
    name: device.name,
    sizeBytes: device.sizeBytes,
    blockSizes: device.blockSizes,
    readOnly: false,
    hints: device.hints,
    durable: true,
    read(target, offsetBytes) {
      inside(target.byteLength, offsetBytes);
      return answer(() => device.read(target, offsetBytes));
    },
    write(source, offsetBytes, flags) {
      inside(source.byteLength, offsetBytes);
      return answer(() => device.write(source, offsetBytes, flags));
    },
    flush: () => answer(() => device.flush()),
    zero(lengthBytes, offsetBytes, flags) {
      inside(lengthBytes, offsetBytes);
      return answer(() => device.zero(lengthBytes, offsetBytes, flags));
    },
    trim(lengthBytes, offsetBytes, flags) {
      inside(lengthBytes, offsetBytes);
      return answer(() => device.trim(lengthBytes, offsetBytes, flags));
    },
    extents(lengthBytes, offsetBytes, limit) {
      inside(lengthBytes, offsetBytes);
      return answer(() => device.extents(lengthBytes, offsetBytes, limit));
    },
    async [Symbol.asyncDispose]() {},
  };
}

/** Others are served as ever; only the device's own failures may reach them. */
async function honestClient(env: Env): Promise<void> {
  const device = await connect(env, uri);
  const source = Uint8Array.of(1, 2, 3, 4, 5);
  const target = new Uint8Array(5);
  try {
    await device.write(source, VOLUME_BYTES - 5, 0);
    await device.read(target, VOLUME_BYTES - 5);
  } catch (error) {
    assert.equal((error as { code?: string }).code, 'DEVICE_IO', String(error));
  } finally {
    await device[Symbol.asyncDispose]();
  }
}

/** Sends its bytes in odd pieces, reads or not, and leaves in one of the ways there are. */
async function badClient(env: Env, draws: Draws, sessions: readonly Uint8Array[]): Promise<void> {
  const bytes = mutated(draws.pick(sessions), sessions, draws);
  const stream = await env.net.connect(address, 1000).catch(() => undefined);
  if (stream === undefined) return; // The server has ended already.
  const closed = Promise.withResolvers<void>();
  stream.start({
    onBytes() {},
    onDrained() {},
    onEnd: () => stream.end(),
    onClosed: () => closed.resolve(),
  });
  const isDeaf = draws.chance(0.1);
  if (isDeaf) stream.pause();
  const pauseMs = draws.pick([0, 0, 0, 1, 100]);
  for (const part of fragments(bytes, draws)) {
    stream.write([part]);
    if (pauseMs > 0) await passed(env, pauseMs);
  }
  await leave(env, { stream, isDeaf, closed: closed.promise }, draws);
}

type Leaving = {
  readonly stream: Stream;
  readonly isDeaf: boolean;
  readonly closed: Promise<void>;
};

async function leave(env: Env, { stream, isDeaf, closed }: Leaving, draws: Draws): Promise<void> {
  const manner = draws.below(4);
  const startMs = env.clock.monotonicMs();
  if (manner === 0) stream.destroy();
  else if (manner <= 2) stream.end();
  const limit = env.clock.after(PATIENCE_MS, () => stream.destroy());
  await closed;
  limit.cancel();
  const tookMs = env.clock.monotonicMs() - startMs;
  if (manner <= 2 && !isDeaf) assert.ok(tookMs < FAREWELL_MS, `seen off after ${tookMs} ms`);
}

function passed(env: Env, delayMs: number): Promise<void> {
  return new Promise((resolve) => void env.clock.after(delayMs, resolve));
}
