/** Sessions over a wide-area link: what each kind of lane carries, and which one `auto` takes. */
import { spawn } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { createIdentity, type LaneMode } from '../src/wire/index.ts';
import type { Bench, BenchOptions } from './main.ts';
import type { Report } from './report.ts';
import { replicatedThroughCut } from './wan.cut.ts';
import type { EndOptions, EndResult } from './wan.end.ts';
import { replicated } from './wan.replica.ts';
import type { StreamsOptions } from './wan.streams.ts';
import { atExit, Link, type LinkOptions, linkProblem } from './wan.world.ts';

const PORT = 7007;
const SECONDS = 8;
/** TCP's slow start, and for `auto` the trials. */
const WARM_UP_SECONDS = 4;
const AUTO_WARM_UP_SECONDS = 12;

type Case = { readonly name: string; readonly link: LinkOptions | undefined };

function link(
  megabits: number,
  roundTripMs: number,
  lossPercent: number,
  congestionControl = 'cubic',
): Case {
  const name = `${megabits} Mbit/s, ${roundTripMs} ms, ${lossPercent} %, ${congestionControl}`;
  return { name, link: { megabits, roundTripMs, lossPercent, congestionControl, seed: 1 } };
}

const cases: readonly Case[] = [
  link(100, 50, 1),
  link(100, 50, 0),
  link(500, 20, 0.1),
  link(500, 20, 0.1, 'bbr'),
  { name: 'loopback', link: undefined },
];

type Subject = { readonly name: string; readonly lane: LaneMode; readonly streamLanes: number };

const subjects: readonly Subject[] = [
  { name: 'one TLS', lane: 'control', streamLanes: 0 },
  { name: '4 TLS', lane: 'tls', streamLanes: 4 },
  { name: '8 TLS', lane: 'tls', streamLanes: 8 },
  { name: 'UDP', lane: 'udp', streamLanes: 0 },
  { name: 'auto', lane: 'auto', streamLanes: 4 },
];

/** Further lanes that `ferry` opens: it has no option for another number. */
const FERRY_STREAM_LANES = 4;

const PLAIN_STREAMS = 8;
const PLAIN_SUBJECT = `${PLAIN_STREAMS} plain TCP`;
const IMAGE_BYTES = 2 ** 30;

/** Rows of the table; plain TCP stands in that of the wire. */
const titles = {
  wire: 'frames of the wire alone',
  replica: 'replicated by ferry',
  plain: 'frames of the wire alone',
} as const;

/** The link of the second case is cut for so long while an image goes over it; first it is not. */
const CUTS_SECONDS = [0, 1, 60] as const;
const CUT_IMAGE_BYTES = 128 * 2 ** 20;

type Part = keyof typeof titles;

type Run = {
  readonly report: Report;
  readonly say: BenchOptions['say'];
  readonly folder: string;
  readonly identities: string;
  readonly image: string;
};

export const bench: Bench = {
  summary: 'sessions, replication, plain TCP on a WAN link [--case N --lane X --only PART]',
  async run(report, { rounds, rest, say }) {
    const { values } = parseArgs({
      args: [...rest],
      options: {
        ...{ case: { type: 'string' }, lane: { type: 'string' }, only: { type: 'string' } },
        place: { type: 'string', default: tmpdir() },
      },
    });
    const problem = linkProblem();
    if (problem !== undefined) report.absent('every case but loopback', problem);
    const folder = mkdtempSync(join(values.place, 'ferry-wan-'));
    atExit(() => rmSync(folder, { recursive: true, force: true }));
    const wants = (part: Part | 'cut') => values.only === undefined || values.only === part;
    const image = join(folder, 'disk.img');
    if (wants('replica')) writeNoise(image, IMAGE_BYTES);
    const run: Run = { report, say, folder, image, identities: writeIdentities(folder) };
    for (const [index, one] of cases.entries()) {
      if (values.case !== undefined && Number(values.case) !== index + 1) continue;
      if (one.link !== undefined && problem !== undefined) continue;
      for (let round = 0; round < rounds; round += 1) {
        if (wants('plain') && values.lane === undefined) await addPlain(run, one);
        for (const subject of subjects) {
          if (values.lane !== undefined && values.lane !== subject.name) continue;
          if (wants('wire')) await addWire(run, one, subject);
          if (wants('replica')) await addReplica(run, one, subject);
        }
      }
    }
    const isWhole = values.case === undefined && values.lane === undefined;
    if (wants('cut') && isWhole && problem === undefined) {
      for (let round = 0; round < rounds; round += 1) await addCuts(run);
    }
    report.note('parts: wire, replica, plain, cut');
    report.note('wire alone: incompressible frames, acknowledged by the receiving program');
    report.note(
      'replicated: `ferry replicate --once`, what came into the journal of `ferry serve`',
    );
    report.note(`${SECONDS} s each, after ${WARM_UP_SECONDS} s (auto: ${AUTO_WARM_UP_SECONDS} s)`);
  },
};

type Row = { readonly part: Part; readonly one: Case; readonly subject: string };
type Figures = { readonly values: Readonly<Record<string, number>>; readonly lanes?: string };

function add({ report, say }: Run, { part, one, subject }: Row, figures: Figures): void {
  const row = { case: one.name, subject } as const;
  for (const [name, value] of Object.entries(figures.values)) {
    const isRate = name === 'rate';
    const metric = isRate ? titles[part] : `${part}: ${name}`;
    const kind = isRate
      ? ({ unit: 'Mbit/s', better: 'more' } as const)
      : ({ unit: 'CPU', better: 'less' } as const);
    report.add({ ...row, metric, value, ...kind });
  }
  if (subject === 'auto') report.note(`${one.name}, ${part}: auto took ${figures.lanes}`);
  say(`${one.name}, ${part}, ${subject}: ${JSON.stringify(figures)}`);
}

async function addWire(run: Run, one: Case, { name, lane, streamLanes }: Subject): Promise<void> {
  const { identities } = run;
  const result = await between<EndResult, EndOptions>(one, {
    ...{ script: 'wan.end.ts', tells: 'dialler' },
    options: { lane, streamLanes, identities, ...timesOf(lane) },
  });
  const { megabits: rate, cpuSeconds: sender, lanes, reason } = result;
  const figures = { values: { rate, sender }, lanes: `${lanes}: ${reason}` };
  add(run, { part: 'wire', one, subject: name }, figures);
}

async function addReplica(run: Run, one: Case, { name, lane, streamLanes }: Subject) {
  if (streamLanes > FERRY_STREAM_LANES) return;
  const link = one.link === undefined ? undefined : await Link.open(one.link);
  const folder = join(run.folder, 'place');
  // Without a link all is there soon.
  const times = { ...timesOf(lane), ...(link === undefined && { warmUpSeconds: 0 }) };
  try {
    const { image } = run;
    const result = await replicated({ link, port: PORT, lane, image, folder, ...times });
    const { megabits: rate, agent, provider, lanes } = result;
    add(run, { part: 'replica', one, subject: name }, { values: { rate, agent, provider }, lanes });
  } finally {
    await link?.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function addPlain(run: Run, one: Case): Promise<void> {
  const { megabits: rate } = await between<{ readonly megabits: number }, StreamsOptions>(one, {
    ...{ script: 'wan.streams.ts', tells: 'host' },
    options: { streams: PLAIN_STREAMS, ...timesOf('tls') },
  });
  add(run, { part: 'plain', one, subject: PLAIN_SUBJECT }, { values: { rate } });
}

async function addCuts({ report, say, folder }: Run): Promise<void> {
  const link = cases[1]!.link!;
  const image = join(folder, 'cut.img');
  writeNoise(image, CUT_IMAGE_BYTES);
  const place = join(folder, 'place');
  let uncutBytes = 0;
  for (const cutSeconds of CUTS_SECONDS) {
    const sizes = { imageBytes: CUT_IMAGE_BYTES, cutSeconds };
    const result = await replicatedThroughCut({ link, port: PORT, image, folder: place, ...sizes });
    rmSync(place, { recursive: true, force: true });
    const { wireBytes, seconds } = result;
    if (cutSeconds === 0) uncutBytes = wireBytes;
    const percent = 100 * (wireBytes / uncutBytes - 1);
    const row = { case: `the link is cut for ${cutSeconds} s`, subject: 'auto' } as const;
    const less = { better: 'less' } as const;
    report.add({ ...row, metric: 'more on the wire', value: percent, unit: '%', ...less });
    report.add({ ...row, metric: 'takes', value: seconds, unit: 's', ...less });
    say(`cut for ${cutSeconds} s: ${JSON.stringify({ ...result, percent })}`);
  }
}

function timesOf(lane: LaneMode) {
  const warmUpSeconds = lane === 'auto' ? AUTO_WARM_UP_SECONDS : WARM_UP_SECONDS;
  return { seconds: SECONDS, warmUpSeconds };
}

type Pair<Options> = {
  readonly script: string;
  /** Whose last line is the result. */
  readonly tells: 'host' | 'dialler';
  readonly options: Omit<Options, 'role' | 'host' | 'port'>;
};

async function between<Result, Options>(
  one: Case,
  { script, tells, options }: Pair<Options>,
): Promise<Result> {
  const link = one.link === undefined ? undefined : await Link.open(one.link);
  const place = { host: link === undefined ? '127.0.0.1' : Link.host(1), port: PORT };
  const begin = (end: 0 | 1, role: string) =>
    startEnd(link, end, [script, JSON.stringify({ role, ...place, ...options })]);
  const host = begin(1, 'host');
  let dialler: typeof host | undefined;
  try {
    await once(host.child.stdout!, 'data');
    dialler = begin(0, 'dialler');
    const teller = tells === 'host' ? host : dialler;
    await teller.ended;
    return JSON.parse(teller.output().trim().split('\n').at(-1)!) as Result;
  } finally {
    for (const end of [host, dialler]) {
      end?.child.kill('SIGKILL');
      await end?.ended.catch(() => {});
    }
    await link?.close();
  }
}

function startEnd(link: Link | undefined, end: 0 | 1, [script, options]: [string, string]) {
  const words = [process.execPath, join(import.meta.dirname, script), options];
  const [program = '', ...rest] = link?.at(end, words) ?? words;
  const child = spawn(program, rest, { stdio: ['ignore', 'pipe', 'inherit'] });
  atExit(() => child.kill('SIGKILL'));
  let output = '';
  child.stdout.on('data', (text) => {
    output += text;
  });
  const ended = once(child, 'close').then(([status]) => {
    if (status !== 0) throw new Error(`an end of the session ended with ${status}`);
  });
  ended.catch(() => {});
  return { child, ended, output: () => output };
}

function writeIdentities(folder: string): string {
  const random = { fill: (target: Uint8Array) => void randomFillSync(target) };
  const made = Object.fromEntries(
    ['host', 'dialler'].map((name) => {
      const { certificates, key, fingerprint } = createIdentity({
        ...{ random, wallMs: Date.now(), name },
      });
      const text = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64');
      return [name, { certificates: text(certificates), key: text(key), pin: text(fingerprint) }];
    }),
  );
  const path = join(folder, 'identities.json');
  writeFileSync(path, JSON.stringify(made), { mode: 0o600 });
  return path;
}

/** Random bytes, which nothing compresses. */
function writeNoise(path: string, bytes: number): void {
  const fd = openSync(path, 'w');
  const part = Buffer.alloc(16 * 2 ** 20);
  for (let at = 0; at < bytes; at += part.byteLength) writeSync(fd, randomFillSync(part));
  closeSync(fd);
}
