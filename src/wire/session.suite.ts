/** Two ends of a session in a simulated world, for tests. */
import { World } from '../../sim/index.ts';
import type { Address, Stream } from '../core/index.ts';
import { dialSession } from './dial.ts';
import { type HostOptions, SessionHost } from './host.ts';
import type { Incoming } from './incoming.ts';
import type { Session } from './session.ts';
import type { SessionHandlers } from './session-types.ts';

export const address: Address = { kind: 'tcp', host: 'provider', port: 7007 };

/** Collects what a side is told; `onMessage` decides when a message is done. */
export class Recorder implements SessionHandlers {
  readonly messages: { type: number; sequence: number; body: Uint8Array }[] = [];
  readonly events: string[] = [];
  readonly closed = Promise.withResolvers<unknown>();
  readonly broken = Promise.withResolvers<unknown>();
  readonly resumed = Promise.withResolvers<void>();
  readonly peerErrors: string[] = [];
  take = (message: Incoming): void => message.done();
  onRoom = (): void => {};

  onMessage(message: Incoming): void {
    const { type, sequence, body } = message;
    this.messages.push({ type, sequence, body: body.slice() });
    this.take(message);
  }

  onBroken(error: unknown): void {
    this.events.push('broken');
    this.broken.resolve(error);
  }

  onResumed(): void {
    this.events.push('resumed');
    this.resumed.resolve();
  }

  onPeerError({ code }: { code: string }): void {
    this.peerErrors.push(code);
  }

  onClosed(error: unknown): void {
    this.events.push('closed');
    this.closed.resolve(error);
  }
}

export type Pair = {
  readonly world: World;
  readonly host: SessionHost;
  readonly client: Session;
  readonly server: Session;
  readonly atClient: Recorder;
  readonly atServer: Recorder;
};

export type PairOptions = {
  readonly seed?: number;
  readonly lanes?: number;
  readonly host?: Partial<HostOptions>;
  readonly wrap?: (stream: Stream) => Stream;
};

/** Runs `task` with both ends connected. */
export async function withPair(
  options: PairOptions,
  task: (pair: Pair) => Promise<void>,
): Promise<World> {
  const { seed = 1, lanes = 0, wrap = (stream: Stream) => stream } = options;
  const world = new World(seed, {});
  await world.run(async () => {
    const atServer = new Recorder();
    const atClient = new Recorder();
    const opened = Promise.withResolvers<Session>();
    const host = new SessionHost({
      env: world.env,
      streamLanes: lanes,
      admit: () => ({
        identity: 'agent',
        open(session) {
          opened.resolve(session);
          return atServer;
        },
      }),
      ...options.host,
    });
    const listener = await world.env.net.listen(address, (stream) => host.accept(stream));
    const client = await dialSession({
      env: world.env,
      identity: 'provider',
      streamLanes: lanes,
      handlers: atClient,
      dial: async () => wrap(await world.env.net.connect(address, 1_000)),
    });
    const server = await opened.promise;
    await task({ world, host, client, server, atClient, atServer });
    client.end();
    host.close('the test is over');
    await listener.close();
  });
  return world;
}

/** Resolves once `condition` holds, looking after every event of the world. */
export async function until(world: World, condition: () => boolean): Promise<void> {
  while (!condition()) await pause(world, 1);
}

export function pause(world: World, delayMs: number): Promise<void> {
  return new Promise((resolve) => {
    world.env.clock.after(delayMs, resolve);
  });
}
