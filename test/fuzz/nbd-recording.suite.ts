/** Sessions between the own client and server, byte for byte, in the three forms of replies. */
import type { Draws } from '../../sim/index.ts';
import { simulatedEnv } from '../../sim/index.ts';
import type { Address, Env, Stream } from '../../src/core/index.ts';
import { memory } from '../../src/device/index.ts';
import { connect, list, type NbdDevice, serve } from '../../src/nbd/index.ts';

export const address: Address = { kind: 'unix', path: '/fuzz' };
export const uri = 'nbd+unix:///disk?socket=/fuzz';
export const VOLUME_BYTES = 1024 * 1024;
export const replyKinds = ['simple', 'structured', 'extended'] as const;

/** Bytes in the order in which they went over the line. */
export type Recording = { readonly fromClient: boolean; readonly bytes: Uint8Array }[];

/** Makes every outgoing connection of `env` tell what goes through it. */
export function tapped(env: Env, recordings: Recording[]): Env {
  return {
    ...env,
    net: {
      ...env.net,
      connect: async (to, timeoutMs) => {
        const recording: Recording = [];
        recordings.push(recording);
        return tap(await env.net.connect(to, timeoutMs), recording);
      },
    },
  };
}

function tap(stream: Stream, recording: Recording): Stream {
  return {
    peer: stream.peer,
    start: (handlers) =>
      stream.start({
        onBytes(view) {
          recording.push({ fromClient: false, bytes: view.slice() });
          handlers.onBytes(view);
        },
        onDrained: () => handlers.onDrained(),
        onEnd: () => handlers.onEnd(),
        onClosed: (error) => handlers.onClosed(error),
      }),
    write(buffers, written) {
      for (const bytes of buffers) recording.push({ fromClient: true, bytes: bytes.slice() });
      return stream.write(buffers, written);
    },
    get queuedBytes() {
      return stream.queuedBytes;
    },
    pause: () => stream.pause(),
    resume: () => stream.resume(),
    end: () => stream.end(),
    destroy: () => stream.destroy(),
  };
}

/** Some of everything that a client can ask; `draws` decides nothing when it is absent. */
export async function useDevice(device: NbdDevice, draws?: Draws): Promise<void> {
  const at = (limit: number): number => (draws === undefined ? 4096 : draws.below(limit));
  await together([
    () => device.write(new Uint8Array(700).fill(7), at(9000), 0),
    () => device.write(new Uint8Array(100).fill(9), 65_536 + at(9000), 1),
  ]);
  await device.flush();
  await device.zero(5000, 8192, 0);
  await together([
    () => device.read(new Uint8Array(1000), 4000),
    () => device.read(new Uint8Array(3), VOLUME_BYTES - 3),
    () => device.extents(VOLUME_BYTES, 0, 100),
  ]);
  await device.trim(4096, 0, 0);
}

/** A device may throw at once, of which the calls before it must not be left without a listener. */
async function together(acts: readonly (() => unknown)[]): Promise<void> {
  await Promise.all(acts.map(async (act) => act()));
}

/** One recording per form of replies, and one of a client that lists. */
export async function recordSessions(): Promise<Recording[]> {
  const recordings: Recording[] = [];
  for (const replies of replyKinds) {
    const world = simulatedEnv(1);
    await world.run(async () => {
      const env = tapped(world.env, recordings);
      const exports = new Map([['disk', memory('disk', VOLUME_BYTES)]]);
      await using server = await serve(world.env, { address, exports });
      await using device = await connect(env, server.uriOf('disk'), { replies });
      await useDevice(device);
      if (replies === 'simple') await list(env, server.uriOf(''));
    });
  }
  return recordings;
}

export function halfOf(recording: Recording, fromClient: boolean): Uint8Array {
  const parts = recording.filter((part) => part.fromClient === fromClient);
  return Uint8Array.from(Buffer.concat(parts.map(({ bytes }) => bytes)));
}
