/** TLS with a pre-shared key: what nbdcopy moves, beside nbdkit, and ten thousand connections. */
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { nodeEnv } from '../src/core/index.ts';
import { connect, type NbdDevice, readCredentials } from '../src/nbd/index.ts';
import { type Running, runOk, start } from '../test/interop/processes.ts';
import type { BenchOptions } from './main.ts';
import { ferry } from './package.ts';
import { residentBytes } from './processes.ts';
import { interleave, OWN_SUBJECT, type Report } from './report.ts';
import { toolFor } from './tools.ts';

const VOLUME_BYTES = 512 * 1024 * 1024;
const MEGABYTE = 1_000_000;
const CONNECTIONS = 10_000;
const DIALS_AT_ONCE = 50;
const env = nodeEnv();

export async function tlsRows(
  report: Report,
  options: BenchOptions,
  folder: string,
): Promise<void> {
  const keys = join(folder, 'keys.psk');
  writeFileSync(keys, `alice:${randomBytes(32).toString('hex')}\n`, { mode: 0o600 });
  await copies(report, options, folder, keys);
  await manyConnections(report, options, folder, keys);
}

function uriOf(socket: string, keys: string): string {
  return `nbds+unix://alice@/?socket=${socket}&tls-psk-file=${keys}`;
}

type Subject = { readonly name: string; readonly socket: string; start(): Running };

function subjectsOf(report: Report, folder: string, keys: string): Subject[] {
  const path = (name: string) => join(folder, `tls-${name}.sock`);
  const own = path('own');
  const secured = ['--tls', 'require', '--tls-psk', keys];
  const words = ['export', `memory:${VOLUME_BYTES}`, '--listen', `unix:${own}`, ...secured];
  const subjects = [{ name: OWN_SUBJECT, socket: own, start: () => start(ferry, words) }];
  const nbdkit = toolFor(report, 'nbdkit');
  if (nbdkit !== undefined) {
    const peer = path('peer');
    const orders = ['-f', '--tls=require', `--tls-psk=${keys}`, '-U', peer];
    const plugin = ['memory', String(VOLUME_BYTES)];
    const begin = () => start(nbdkit, [...orders, ...plugin]);
    subjects.push({ name: 'nbdkit', socket: peer, start: begin });
  }
  return subjects;
}

async function copies(
  report: Report,
  options: BenchOptions,
  folder: string,
  keys: string,
): Promise<void> {
  const nbdcopy = toolFor(report, 'nbdcopy', 'libnbd-bin');
  if (nbdcopy === undefined) return;
  const subjects = subjectsOf(report, folder, keys);
  const running = subjects.map((subject) => subject.start());
  try {
    await Promise.all(running.map((server, at) => server.socket(subjects[at]!.socket)));
    const image = join(folder, 'tls.img');
    await runOk('sh', ['-c', `head -c ${VOLUME_BYTES} /dev/urandom > "$1"`, 'sh', image]);
    const directions = {
      'nbdcopy in': (uri: string) => [image, uri],
      'nbdcopy out': (uri: string) => [uri, 'null:'],
    };
    for (const [name, words] of Object.entries(directions)) {
      await interleave(subjects, options.rounds, async ({ name: subject, socket }) => {
        const startMs = performance.now();
        await runOk(nbdcopy, words(uriOf(socket, keys)));
        const seconds = (performance.now() - startMs) / 1000;
        const row = { case: `tls: ${name}`, subject, metric: 'rate' };
        report.add({
          ...{ ...row, value: VOLUME_BYTES / MEGABYTE / seconds },
          ...{ unit: 'MB/s', better: 'more' },
        });
      });
      options.say(`tls: ${name}`);
    }
  } finally {
    await Promise.all(running.map((server) => server[Symbol.asyncDispose]()));
  }
}

/** Opened, used once and left idle; each of the peers would need a thread for each. */
async function manyConnections(
  report: Report,
  options: BenchOptions,
  folder: string,
  keys: string,
): Promise<void> {
  const socket = join(folder, 'tls-many.sock');
  const words = ['export', 'memory:1G', '--listen', `unix:${socket}`];
  await using server = start(ferry, [...words, '--tls', 'require', '--tls-psk', keys]);
  await server.socket(socket);
  const aloneBytes = residentBytes(server.pid);
  const tls = await readCredentials(env.files, { preSharedKeys: keys });
  const devices: NbdDevice[] = [];
  const startMs = performance.now();
  while (devices.length < CONNECTIONS) {
    const group = Math.min(DIALS_AT_ONCE, CONNECTIONS - devices.length);
    const dial = () => connect(env, uriOf(socket, keys), { tls, reconnectTimeoutMs: 0 });
    devices.push(...(await Promise.all(Array.from({ length: group }, dial))));
  }
  const seconds = (performance.now() - startMs) / 1000;
  const openBytes = residentBytes(server.pid) - aloneBytes;
  const answerMs = await slowestAnswer(devices);
  const row = { case: `tls: ${CONNECTIONS} connections`, subject: OWN_SUBJECT };
  const less = { ...row, better: 'less' } as const;
  report.add({ ...less, metric: 'memory', value: openBytes / MEGABYTE, unit: 'MB' });
  report.add({ ...less, metric: 'to read on all', value: answerMs / 1000, unit: 's' });
  const rate = CONNECTIONS / seconds;
  report.add({ ...row, metric: 'handshakes', value: rate, unit: '1/s', better: 'more' });
  for (const device of devices) await device[Symbol.asyncDispose]();
  options.say(row.case);
}

/** One read on every connection: all of them still work. */
async function slowestAnswer(devices: readonly NbdDevice[]): Promise<number> {
  const startMs = performance.now();
  await Promise.all(devices.map(async (device) => device.read(new Uint8Array(512), 4096)));
  return performance.now() - startMs;
}
