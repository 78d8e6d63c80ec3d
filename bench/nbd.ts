/** The NBD server under fio and nbdcopy, beside nbdkit, over a unix socket. */
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Running, runOk, start } from '../test/interop/processes.ts';
import type { Bench, BenchOptions } from './main.ts';
import { envRows } from './nbd.env.ts';
import { manyConnections } from './nbd.many.ts';
import { tlsRows } from './nbd.tls.ts';
import { ferry } from './package.ts';
import { interleave, OWN_SUBJECT, type Report } from './report.ts';
import { toolFor } from './tools.ts';

const VOLUME_BYTES = 1024 * 1024 * 1024;
const MEGABYTE = 1_000_000;
/** What nbdcopy moves: well above what fits into sockets and caches. */
const COPY_BYTES = VOLUME_BYTES / 2;

export const bench: Bench = {
  summary: 'the NBD server under fio and nbdcopy, beside nbdkit [--seconds N] [--only "file: "]',
  run,
};

type Row = {
  readonly name: string;
  readonly mode: 'randread' | 'randwrite' | 'read' | 'write';
  readonly blockBytes: number;
  readonly depth: number;
  readonly connections: number;
  readonly threads: number;
};

const KIB = 1024;

/** The rows in which a ratio of 1.0 is demanded come first. */
const rows: readonly Row[] = [
  ...([16, 64, 1] as const).flatMap((depth) =>
    (['randread', 'randwrite'] as const).map((mode) => fioRow(mode, 4 * KIB, depth, 1)),
  ),
  fioRow('read', 64 * KIB, 8, 1),
  fioRow('write', 64 * KIB, 8, 1),
  fioRow('randread', 4 * KIB, 16, 4),
  fioRow('randwrite', 4 * KIB, 16, 4),
  threaded(fioRow('randread', 4 * KIB, 16, 4)),
  threaded(fioRow('randwrite', 4 * KIB, 16, 4)),
];

function threaded(row: Row): Row {
  return { ...row, name: `${row.name} with --threads 2`, threads: 2 };
}

function fioRow(mode: Row['mode'], blockBytes: number, depth: number, connections: number): Row {
  const many = connections === 1 ? '' : ` x${connections}`;
  const name = `${mode} ${blockBytes / KIB} KiB, ${depth} in flight${many}`;
  return { name, mode, blockBytes, depth, connections, threads: 1 };
}

type Subject = {
  readonly name: string;
  /** Measured only in rows of as many threads; then it stands for the other one of its name. */
  readonly threads?: number;
  start(socket: string): Running;
};

/** The server under test is the command that users start. */
function subjectsOf(device: 'memory' | 'file', folder: string, nbdkit: string | undefined) {
  const path = (name: string) => join(folder, `${name}.img`);
  const source = device === 'memory' ? `memory:${VOLUME_BYTES}` : path('own');
  const threadedSource = device === 'memory' ? source : path('threaded');
  const plugin = device === 'memory' ? ['memory', String(VOLUME_BYTES)] : ['file', path('peer')];
  const subjects: Subject[] = [
    {
      name: OWN_SUBJECT,
      start: (socket) => start(ferry, ['export', source, '--listen', `unix:${socket}`]),
    },
    {
      name: OWN_SUBJECT,
      threads: 2,
      start: (socket) =>
        start(ferry, ['export', threadedSource, '--listen', `unix:${socket}`, '--threads', '2']),
    },
  ];
  if (nbdkit !== undefined) {
    subjects.push({
      name: 'nbdkit',
      start: (socket) => start(nbdkit, ['-f', '-U', socket, ...plugin]),
    });
  }
  for (const name of ['own', 'threaded', 'peer']) sparseFile(path(name), VOLUME_BYTES);
  return subjects;
}

function sparseFile(path: string, sizeBytes: number): void {
  const fd = openSync(path, 'w');
  ftruncateSync(fd, sizeBytes);
  closeSync(fd);
}

async function run(report: Report, options: BenchOptions): Promise<void> {
  const { values } = parseArgs({
    args: [...options.rest],
    options: { seconds: { type: 'string', default: '2' }, only: { type: 'string', default: '' } },
  });
  const nbdkit = toolFor(report, 'nbdkit');
  const folder = mkdtempSync(join(tmpdir(), 'ferry-bench-'));
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  const wantedAtAll = (start: string) => start.startsWith(values.only.slice(0, start.length));
  for (const device of ['memory', 'file'] as const) {
    if (!wantedAtAll(`${device}: `)) continue;
    const subjects = subjectsOf(device, folder, nbdkit);
    await using place = await serving(folder, device, subjects);
    const wanted = (name: string) => `${device}: ${name}`.includes(values.only);
    const fio = toolFor(report, 'fio');
    const nbdcopy = toolFor(report, 'nbdcopy', 'libnbd-bin');
    const seconds = Number(values.seconds);
    const context = { report, options, device, subjects, place, wanted, folder };
    // Copying first fills both volumes, so that fio reads data and not holes.
    if (nbdcopy !== undefined) await copies(context, nbdcopy);
    if (fio !== undefined) await fioRows(context, fio, seconds);
  }
  if (wantedAtAll('env: ')) await envRows(report, options, folder, Number(values.seconds));
  if (wantedAtAll('tls: ')) await tlsRows(report, options, folder);
  if (wantedAtAll('many: ')) await manyConnections(report, options, folder);
  report.note('unix socket; the server, the client and the rest of the machine share its cores');
}

type Place = AsyncDisposable & { uri(subject: Subject): string };

async function serving(
  folder: string,
  device: string,
  subjects: readonly Subject[],
): Promise<Place> {
  const socket = ({ name, threads = 1 }: Subject) =>
    join(folder, `${device}-${name}-${threads}.sock`);
  const running = subjects.map((subject) => subject.start(socket(subject)));
  await Promise.all(running.map((server, at) => server.socket(socket(subjects[at]!))));
  return {
    uri: (subject) => `nbd+unix:///?socket=${socket(subject)}`,
    async [Symbol.asyncDispose]() {
      await Promise.all(running.map((server) => server[Symbol.asyncDispose]()));
    },
  };
}

type Context = {
  readonly report: Report;
  readonly options: BenchOptions;
  readonly device: string;
  readonly subjects: readonly Subject[];
  readonly place: Place;
  readonly folder: string;
  wanted(name: string): boolean;
};

async function copies(context: Context, nbdcopy: string): Promise<void> {
  const { report, options, device, subjects, place, folder } = context;
  const image = join(folder, 'random.img');
  await runOk('sh', ['-c', `head -c ${COPY_BYTES} /dev/urandom > "$1"`, 'sh', image]);
  const directions = {
    'nbdcopy in': (uri: string) => [image, uri],
    'nbdcopy out': (uri: string) => [uri, 'null:'],
  };
  for (const [name, words] of Object.entries(directions)) {
    const isWanted = context.wanted(name);
    await interleave(subjects, isWanted ? options.rounds : 1, async (subject) => {
      const startMs = performance.now();
      await runOk(nbdcopy, words(place.uri(subject)));
      const seconds = (performance.now() - startMs) / 1000;
      const rate = (name === 'nbdcopy in' ? COPY_BYTES : VOLUME_BYTES) / MEGABYTE / seconds;
      // What one has written must not reach the disk at the other's expense.
      await runOk('sync', ['--file-system', folder]);
      // The one of several threads is only filled.
      if (!isWanted || subject.threads !== undefined) return;
      const row = { case: `${device}: ${name}`, subject: subject.name, metric: 'rate' };
      report.add({ ...row, value: rate, unit: 'MB/s', better: 'more' });
    });
    options.say(`${device}: ${name}`);
  }
}

async function fioRows(context: Context, fio: string, seconds: number): Promise<void> {
  const { report, options, device, subjects, place, folder } = context;
  for (const row of rows.filter(({ name }) => context.wanted(name))) {
    const measured = subjects.filter(
      ({ name, threads = 1 }) => name !== OWN_SUBJECT || threads === row.threads,
    );
    await interleave(measured, options.rounds, async (subject) => {
      const { stdout } = await runOk(
        fio,
        [
          ...['--name=bench', '--ioengine=nbd', `--uri=${place.uri(subject)}`],
          ...[`--rw=${row.mode}`, `--bs=${row.blockBytes}`, `--iodepth=${row.depth}`],
          ...[`--numjobs=${row.connections}`, '--group_reporting', `--size=${COPY_BYTES}`],
          ...['--time_based', `--runtime=${seconds}`, '--output-format=json'],
        ],
        { cwd: folder, timeoutMs: (seconds + 60) * 1000 },
      );
      // fio prints a greeting before its JSON.
      const [job] = JSON.parse(stdout.slice(stdout.indexOf('{'))).jobs;
      const value = job.read.iops + job.write.iops;
      const where = { case: `${device}: ${row.name}`, subject: subject.name, metric: 'requests' };
      report.add({ ...where, value, unit: '1/s', better: 'more' });
      if (row.mode.endsWith('write')) await runOk('sync', ['--file-system', folder]);
    });
    options.say(`${device}: ${row.name}`);
  }
}
