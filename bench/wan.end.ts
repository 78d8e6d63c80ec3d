/** One end of a session for `npm run bench -- wan`, in a process of its own. */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { nodeEnv } from '../src/core/index.ts';
import {
  BLOCK_DATA,
  BufferPool,
  checkPinned,
  decodeBlockData,
  dialSession,
  dialTls,
  encodeBlockData,
  KIND_DATA,
  type LaneMode,
  PRIORITY_DIRTY,
  SessionHost,
} from '../src/wire/index.ts';

/** As the codec makes frames of data that cannot be compressed. */
const FRAME_BYTES = 512 * 1024;
const CHUNK_BYTES = 64 * 1024;
/** Frames that are sent again and again; the wire cannot tell. */
const FRAMES = 16;

export type EndOptions = {
  readonly role: 'host' | 'dialler';
  readonly host: string;
  readonly port: number;
  readonly lane: LaneMode;
  readonly streamLanes: number;
  readonly seconds: number;
  /** The first part, which is not counted. */
  readonly warmUpSeconds: number;
  readonly identities: string;
};

export type EndResult = {
  readonly megabits: number;
  readonly lanes: string;
  readonly reason: string;
  readonly resentBytes: number;
  readonly cpuSeconds: number;
  readonly retransmittedPackets: number;
};

type Identities = Record<'host' | 'dialler', { certificates: string; key: string; pin: string }>;

const options = JSON.parse(process.argv[2]!) as EndOptions;
const env = nodeEnv();
const pool = new BufferPool();
const all = JSON.parse(readFileSync(options.identities, 'utf8')) as Identities;
const bytes = (text: string) => new Uint8Array(Buffer.from(text, 'base64'));
const own = all[options.role];
const identity = { certificates: bytes(own.certificates), key: bytes(own.key) };
const pin = bytes(all[options.role === 'host' ? 'dialler' : 'host'].pin);

async function host(): Promise<void> {
  const tls = env.net.tls({ role: 'server', credentials: { kind: 'pinned', identity } });
  const sessions = new SessionHost({
    ...{ env, tls, pool, streamLanes: options.streamLanes },
    admit({ certificate }) {
      checkPinned(certificate, [pin], env.clock.wallMs());
      return {
        identity: 'dialler',
        open: () => ({
          onMessage(message) {
            if (decodeBlockData(message.body).frame.byteLength !== FRAME_BYTES) process.exit(3);
            message.done();
          },
          onClosed: () => process.exit(0),
        }),
      };
    },
    onRefused: (error) => process.stderr.write(`refused: ${String(error)}\n`),
  });
  const address = { kind: 'tcp', host: options.host, port: options.port } as const;
  await env.net.listen(address, (stream) => sessions.accept(stream));
  await sessions.listenUdp(options.host, options.port);
  process.stdout.write('ready\n');
}

async function dialler(): Promise<void> {
  const address = { kind: 'tcp', host: options.host, port: options.port } as const;
  const bodies = Array.from({ length: FRAMES }, (_, at) => body(at));
  let next = 0;
  let sentBytes = 0;
  const fill = () => {
    for (;;) {
      const parts = bodies[next % FRAMES]!;
      const onAcknowledged = () => {
        sentBytes += FRAME_BYTES;
      };
      const message = { type: BLOCK_DATA, parts, priority: PRIORITY_DIRTY, onAcknowledged };
      if (!session.send(message)) return;
      next += 1;
    }
  };
  const handlers = { onMessage() {}, onRoom: fill, onClosed: () => process.exit(0) };
  const { session, chooser } = await dialSession({
    ...{ env, pool, identity: 'host', handlers, lane: options.lane },
    streamLanes: options.streamLanes,
    dial: () => dialTls(env, { address, identity, pins: [pin] }),
  });
  fill();
  await pause(options.warmUpSeconds);
  const start = { bytes: sentBytes, ms: performance.now(), cpu: process.cpuUsage() };
  await pause(options.seconds);
  const seconds = (performance.now() - start.ms) / 1000;
  const cpu = process.cpuUsage(start.cpu);
  const udp = session.lanes.find((lane) => 'figures' in lane) as
    | { figures: { retransmittedPackets: number } }
    | undefined;
  const result: EndResult = {
    megabits: (8 * (sentBytes - start.bytes)) / 1e6 / seconds,
    lanes: chooser.choice.lanes,
    reason: chooser.choice.reason,
    resentBytes: session.traffic.resentBytes,
    cpuSeconds: (cpu.user + cpu.system) / 1e6 / seconds,
    retransmittedPackets: udp?.figures.retransmittedPackets ?? 0,
  };
  process.stdout.write(`${JSON.stringify({ ...result, udp: udp?.figures })}\n`);
  session.end();
  setTimeout(() => process.exit(0), 500);
}

function body(at: number): Uint8Array[] {
  const hash = new Uint8Array(randomBytes(32));
  const entries = Array.from({ length: FRAME_BYTES / CHUNK_BYTES }, (_, index) => ({
    ...{ kind: KIND_DATA, lengthBytes: CHUNK_BYTES, hash, blockClass: 0, importance: 0 },
    offsetBytes: at * FRAME_BYTES + index * CHUNK_BYTES,
  }));
  const frame = new Uint8Array(randomBytes(FRAME_BYTES));
  return encodeBlockData({ volume: 1, epoch: 1, request: 0, entries, frame });
}

function pause(seconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, seconds * 1000));
}

await (options.role === 'host' ? host() : dialler());
