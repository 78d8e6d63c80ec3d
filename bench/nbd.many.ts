/** Ten thousand idle and two hundred busy connections to one `ferry export`. */
import { join } from 'node:path';
import { nodeEnv, type Stream } from '../src/core/index.ts';
import { connect, type NbdDevice } from '../src/nbd/index.ts';
import { start } from '../test/interop/processes.ts';
import type { BenchOptions } from './main.ts';
import { ferry } from './package.ts';
import { residentBytes } from './processes.ts';
import { OWN_SUBJECT, type Report } from './report.ts';

const IDLE = 10_000;
const BUSY = 200;
const BUSY_MS = 5_000;
const BLOCK_BYTES = 4096;
/** Blocks of its own that each busy connection reads and writes. */
const BUSY_BLOCKS = 1_000;
const DIALS_AT_ONCE = 100;
const env = nodeEnv();

export async function manyConnections(
  report: Report,
  options: BenchOptions,
  folder: string,
): Promise<void> {
  const socket = join(folder, 'many.sock');
  await using server = start(ferry, ['export', 'memory:1G', '--listen', `unix:${socket}`]);
  await server.socket(socket);
  const uri = `nbd+unix:///?socket=${socket}`;
  await fill(uri);
  const idleStreams: Stream[] = [];
  const aloneBytes = residentBytes(server.pid);
  await times(IDLE, async () => void idleStreams.push(await idle(socket)));
  const idleBytes = residentBytes(server.pid);
  const devices: NbdDevice[] = [];
  await times(BUSY, async () => void devices.push(await connect(env, uri)));
  let peakBytes = 0;
  const watch = setInterval(() => {
    peakBytes = Math.max(peakBytes, residentBytes(server.pid));
  }, 100);
  const counts = await Promise.all(devices.map((device, at) => busy(device, at)));
  clearInterval(watch);
  const row = { case: `many: ${IDLE} idle, ${BUSY} busy`, subject: OWN_SUBJECT };
  const megabytes = (bytes: number) => bytes / 1_000_000;
  const memory = { ...row, unit: 'MB', better: 'less' } as const;
  report.add({ ...memory, metric: 'idle ones', value: megabytes(idleBytes - aloneBytes) });
  report.add({ ...memory, metric: 'above idle', value: megabytes(peakBytes - idleBytes) });
  const rate = { ...row, unit: '1/s', better: 'more' } as const;
  const perSecond = (count: number) => (count * 1000) / BUSY_MS;
  report.add({ ...rate, metric: 'slowest busy', value: perSecond(Math.min(...counts)) });
  report.add({ ...rate, metric: 'fastest busy', value: perSecond(Math.max(...counts)) });
  for (const device of devices) await device[Symbol.asyncDispose]();
  for (const stream of idleStreams) stream.destroy();
  options.say(row.case);
}

/** The volume lies in the server's memory too: its content is there before anything is measured. */
async function fill(uri: string): Promise<void> {
  await using device = await connect(env, uri);
  const bytes = new Uint8Array(BUSY_BLOCKS * BLOCK_BYTES).fill(1);
  for (let index = 0; index < BUSY; index += 1) {
    await device.write(bytes, index * bytes.byteLength, 0);
  }
}

/** In the transmission phase, as a client that waits is: handshakes end by their time limit. */
async function idle(socket: string): Promise<Stream> {
  const stream = await env.net.connect({ kind: 'unix', path: socket }, 30_000);
  const ready = Promise.withResolvers<void>();
  let receivedBytes = 0;
  stream.start({
    onBytes(view) {
      receivedBytes += view.byteLength;
      // Greeting, the export's size and its flags (NBD_OPT_EXPORT_NAME without zeroes).
      if (receivedBytes >= 18 + 10) ready.resolve();
    },
    onDrained() {},
    onEnd: () => ready.reject(new Error('the server closed an idle connection')),
    onClosed: () => ready.reject(new Error('an idle connection was lost')),
  });
  const flags = Uint8Array.of(0, 0, 0, 3);
  const option = new Uint8Array(16);
  option.set(Buffer.from('IHAVEOPT'));
  option[11] = 1;
  stream.write([flags, option]);
  await ready.promise;
  return stream;
}

/** Reads and writes one after the other; answers how many in all. */
async function busy(device: NbdDevice, index: number): Promise<number> {
  const bytes = new Uint8Array(BLOCK_BYTES);
  const endMs = performance.now() + BUSY_MS;
  let count = 0;
  for (; performance.now() < endMs; count += 1) {
    const offsetBytes = (index * BUSY_BLOCKS + (count % BUSY_BLOCKS)) * BLOCK_BYTES;
    // Reads what it has just written.
    if (count % 2 === 0) await device.write(bytes, offsetBytes, 0);
    else await device.read(bytes, offsetBytes - BLOCK_BYTES);
  }
  return count;
}

async function times(count: number, act: () => Promise<void>): Promise<void> {
  for (let done = 0; done < count; done += DIALS_AT_ONCE) {
    const group = Math.min(DIALS_AT_ONCE, count - done);
    await Promise.all(Array.from({ length: group }, act));
  }
}
