/** Two ends of a session in a simulated world, for tests. */
import { World } from '../../sim/index.ts';
import { type Address, type Clock, hmac, type Stream } from '../core/index.ts';
import { dialSession } from './dial.ts';
import { type HostOptions, SessionHost } from './host.ts';
import type { Incoming } from './incoming.ts';
import type { LaneChooser, LaneMode } from './lane-chooser.ts';
import type { Session } from './session.ts';
import type { SessionHandlers } from './session-types.ts';

export const address: Address = { kind: 'tcp', host: 'provider', port: 7007 };

export const udpHost = '10.0.0.1';

/** What TLS would derive, from a secret that is none. */
function exportKey(lengthBytes: number, label: string, context: Uint8Array): Uint8Array {
  const parts = [1, 2].map((part) =>
    hmac(new Uint8Array(32), new TextEncoder().encode(label), context, Uint8Array.of(part)),
  );
  return Uint8Array.from(Buffer.concat(parts)).subarray(0, lengthBytes);
}

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
  readonly chooser: LaneChooser;
  readonly server: Session;
  readonly atClient: Recorder;
  readonly atServer: Recorder;
};

export type PairOptions = {
  readonly seed?: number;
  readonly lanes?: number;
  readonly host?: Partial<HostOptions>;
  /** Opens the host's port for datagrams, with keys that stand in for those of TLS. */
  readonly udp?: boolean;
  readonly lane?: LaneMode;
  /** How long everything takes on its way, beside what is drawn. */
  readonly farMs?: number;
  /** Sees what goes through the host's connections. */
  readonly tapHost?: (stream: Stream, clock: Clock) => Stream;
  readonly tapDialler?: (stream: Stream, clock: Clock) => Stream;
};

/** Runs `task` with both ends connected. */
export async function withPair(
  options: PairOptions,
  task: (pair: Pair) => Promise<void>,
): Promise<World> {
  const { seed = 1, lanes = 0, udp = false, lane = 'auto', farMs = 0 } = options;
  const wrap = (stream: Stream) => (udp ? Object.assign(stream, { exportKey }) : stream);
  const world = new World(seed, {});
  world.net.farMs = farMs;
  await world.run(async () => {
    const atServer = new Recorder();
    const atClient = new Recorder();
    const opened = Promise.withResolvers<Session>();
    const host = new SessionHost({
      env: world.env,
      ...{ streamLanes: lanes, lane },
      admit: () => ({
        identity: 'agent',
        open(session) {
          opened.resolve(session);
          return atServer;
        },
      }),
      tap: (stream) => options.tapHost?.(stream, world.env.clock) ?? stream,
      ...options.host,
    });
    const listener = await world.env.net.listen(address, (stream) => host.accept(wrap(stream)));
    if (udp) await host.listenUdp(udpHost, 7007);
    const { session: client, chooser } = await dialSession({
      env: world.env,
      identity: 'provider',
      streamLanes: lanes,
      ...{ handlers: atClient, lane, udpHost },
      dial: async () => {
        const { tapDialler = (whole: Stream) => whole } = options;
        return tapDialler(wrap(await world.env.net.connect(address, 1_000)), world.env.clock);
      },
    });
    const server = await opened.promise;
    await task({ world, host, client, chooser, server, atClient, atServer });
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
