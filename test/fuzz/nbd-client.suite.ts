/** Mutated replies of a recorded server against the client, in a simulated world. */
import assert from 'node:assert/strict';
import { Draws, simulatedEnv } from '../../sim/index.ts';
import { type Env, FerryError, type Listener } from '../../src/core/index.ts';
import { connect } from '../../src/nbd/index.ts';
import { fragments, mutated } from './mutation.suite.ts';
import {
  address,
  halfOf,
  type Recording,
  recordSessions,
  replyKinds,
  uri,
  useDevice,
} from './nbd-recording.suite.ts';

/** Connecting may take 30 s, each answer 60 s; nothing may take longer than all of them. */
const END_MS = 15 * 60_000;

export async function nbdClientTrials(): Promise<(seed: number) => Promise<void>> {
  const recordings = await recordSessions();
  return (seed) => trial(seed, recordings);
}

async function trial(seed: number, recordings: readonly Recording[]): Promise<void> {
  const draws = new Draws(seed, 3);
  const world = simulatedEnv(seed);
  const kind = draws.below(replyKinds.length);
  await world.run(async () => {
    const listener = await badServer(world.env, recordings, kind, draws);
    try {
      const device = await connect(world.env, uri, { replies: replyKinds[kind]! });
      try {
        await useDevice(device);
      } finally {
        await device[Symbol.asyncDispose]();
      }
    } catch (error) {
      // Whatever a server says is an error of the protocol or the device, never of the program.
      if (!(error instanceof FerryError)) throw error;
    }
    assert.ok(world.nowMs < END_MS, `the client waited ${world.nowMs} ms`);
    await listener.close();
  });
}

/** Plays the server's half: each piece when as much has come in as when it was recorded. */
function badServer(
  env: Env,
  recordings: readonly Recording[],
  kind: number,
  draws: Draws,
): Promise<Listener> {
  const others = recordings.map((recording) => halfOf(recording, false));
  const script = scriptOf(recordings, kind, others, draws);
  return env.net.listen(address, (stream) => {
    let receivedBytes = 0;
    let next = 0;
    const play = (): void => {
      while (next < script.length && script[next]!.afterBytes <= receivedBytes) {
        for (const part of fragments(script[next++]!.bytes, draws)) stream.write([part]);
      }
      if (next === script.length && draws.chance(0.02)) stream.end();
    };
    stream.start({
      onBytes(view) {
        receivedBytes += view.byteLength;
        play();
      },
      onDrained() {},
      onEnd: () => stream.end(),
      onClosed() {},
    });
    play();
  });
}

function scriptOf(
  recordings: readonly Recording[],
  kind: number,
  others: readonly Uint8Array[],
  draws: Draws,
) {
  // The recording of a client that lists stands behind the first one.
  const recording = recordings[kind === 0 ? 0 : kind + 1]!;
  let afterBytes = 0;
  const script: { afterBytes: number; bytes: Uint8Array }[] = [];
  for (const { fromClient, bytes } of recording) {
    if (fromClient) afterBytes += bytes.byteLength;
    else script.push({ afterBytes, bytes });
  }
  const changes = draws.pick([0, 1, 1, 2]);
  for (let done = 0; done < changes; done += 1) {
    const piece = draws.pick(script);
    piece.bytes = mutated(piece.bytes, others, draws);
  }
  return script;
}
