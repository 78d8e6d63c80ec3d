/** Mutated sessions against both sides, mutated bodies, and UDP packets that keys make genuine. */
import assert from 'node:assert/strict';
import { Draws, simulatedEnv, type World } from '../../sim/index.ts';
import { FerryError, type Stream } from '../../src/core/index.ts';
import { recordSession, udpTrial } from '../../src/wire/fuzz.suite.ts';
import { dialSession, RECORDED_IN, type RecordedChunk, SessionHost } from '../../src/wire/index.ts';
import { examples } from '../../src/wire/messages/examples.fixture.ts';
import { Recorder } from '../../src/wire/session.suite.ts';
import { fragments, mutated } from './mutation.suite.ts';
import type { FuzzTarget } from './target.ts';

const address = { kind: 'tcp', host: 'provider', port: 7007 } as const;
/** A hello's time, a farewell's, and the silence of a session that was opened. */
const END_MS = 400_000;

export const target: FuzzTarget = {
  summary: 'mutated sessions against both sides of the wire, bodies, and UDP packets',
  async prepare() {
    const host = halves(await recordSession('host'));
    const dialler = halves(await recordSession('dialler'));
    const trials = [
      (seed: number) => againstHost(seed, host),
      (seed: number) => againstDialler(seed, dialler),
      bodies,
      udpTrial,
    ];
    return async (seed) => trials[seed % trials.length]!(seed);
  },
};

/** What came in at the recorded side, as one piece. */
function halves(chunks: readonly RecordedChunk[]): Uint8Array {
  const parts = chunks.filter(({ kind }) => kind === RECORDED_IN).map(({ bytes }) => bytes);
  return Uint8Array.from(Buffer.concat(parts));
}

function bodies(seed: number): void {
  const draws = new Draws(seed, 31);
  const others = examples.map(({ encode }) => encode());
  for (let round = 0; round < 20; round += 1) {
    const example = draws.pick(examples);
    try {
      example.decode(mutated(example.encode(), others, draws));
    } catch (error) {
      if (!(error instanceof FerryError)) throw error;
    }
  }
}

async function againstHost(seed: number, script: Uint8Array): Promise<void> {
  const draws = new Draws(seed, 32);
  const world = simulatedEnv(seed);
  await world.run(async () => {
    const recorder = new Recorder();
    const host = new SessionHost({
      ...{ env: world.env, streamLanes: draws.below(3) },
      admit: () => ({ identity: 'somebody', open: () => recorder }),
    });
    const listener = await world.env.net.listen(address, (stream) => host.accept(stream));
    await play(world, await world.env.net.connect(address, 1_000), script, draws);
    assert.ok(host.halfOpenCount <= 1 && host.sessions.length <= 1);
    host.close('over');
    await listener.close();
    assert.ok(world.nowMs < END_MS);
  });
}

async function againstDialler(seed: number, script: Uint8Array): Promise<void> {
  const draws = new Draws(seed, 33);
  const world = simulatedEnv(seed);
  await world.run(async () => {
    const listener = await world.env.net.listen(address, (stream) => {
      void play(world, stream, script, draws);
    });
    try {
      const recorder = new Recorder();
      const { session } = await dialSession({
        ...{ env: world.env, identity: 'nobody', handlers: recorder, streamLanes: 1 },
        dial: () => world.env.net.connect(address, 1_000),
      });
      const body = { parts: [new Uint8Array(100)], priority: 2 };
      if (session.state !== 'closed') session.send({ type: 17, ...body });
      await new Promise<void>((resolve) => void world.env.clock.after(2_000, resolve));
      session.end();
    } catch (error) {
      if (!(error instanceof FerryError)) throw error;
    }
    await listener.close();
    assert.ok(world.nowMs < END_MS);
  });
}

/** Resolves once the other side has closed, or after long enough. */
function play(world: World, stream: Stream, script: Uint8Array, draws: Draws): Promise<void> {
  return new Promise((resolve) => {
    stream.start({
      onBytes() {},
      onDrained() {},
      onEnd: () => stream.end(),
      onClosed: () => resolve(),
    });
    for (const part of fragments(mutated(script, [script], draws), draws)) stream.write([part]);
    if (draws.chance(0.5)) stream.end();
    world.env.clock.after(1_000, () => {
      stream.destroy();
      resolve();
    });
  });
}
