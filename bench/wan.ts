/** Sessions over a wide-area link: what each kind of lane carries, and which one `auto` takes. */
import { spawn } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { createIdentity, type LaneMode } from '../src/wire/index.ts';
import type { Bench } from './main.ts';
import type { Report } from './report.ts';
import type { EndOptions, EndResult } from './wan.end.ts';
import { atExit, Link, type LinkOptions, linkProblem } from './wan.world.ts';

const PORT = 7007;
const SECONDS = 8;
/** TCP's slow start, and for `auto` the trials. */
const WARM_UP_SECONDS = 4;
const AUTO_WARM_UP_SECONDS = 6;

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
  { name: 'auto', lane: 'auto', streamLanes: 8 },
];

export const bench: Bench = {
  summary: 'a session over a WAN link: one and several TLS lanes, UDP, auto [--case N] [--lane X]',
  async run(report, { rounds, rest, say }) {
    const { values } = parseArgs({
      args: [...rest],
      options: { case: { type: 'string' }, lane: { type: 'string' } },
    });
    const problem = linkProblem();
    if (problem !== undefined) report.absent('every case but loopback', problem);
    const folder = mkdtempSync(join(tmpdir(), 'ferry-wan-'));
    atExit(() => rmSync(folder, { recursive: true, force: true }));
    const identities = writeIdentities(folder);
    for (const [index, one] of cases.entries()) {
      if (values.case !== undefined && Number(values.case) !== index + 1) continue;
      if (one.link !== undefined && problem !== undefined) continue;
      for (let round = 0; round < rounds; round += 1) {
        for (const subject of subjects) {
          if (values.lane !== undefined && values.lane !== subject.name) continue;
          const result = await measureOne(one, subject, identities);
          add(report, one, subject, result);
          say(`${one.name}, ${subject.name}: ${JSON.stringify(result)}`);
        }
      }
    }
    report.note('megabits of frames per second, acknowledged by the receiving program');
    report.note(`${SECONDS} s each, after ${WARM_UP_SECONDS} s (auto: ${AUTO_WARM_UP_SECONDS} s)`);
  },
};

function add(report: Report, one: Case, { name }: Subject, result: EndResult): void {
  const row = { case: one.name, subject: name } as const;
  report.add({ ...row, metric: 'rate', value: result.megabits, unit: 'Mbit/s', better: 'more' });
  report.add({ ...row, metric: 'sender', value: result.cpuSeconds, unit: 'CPU', better: 'less' });
  if (name === 'auto') {
    report.note(`${one.name}: auto took ${result.lanes} (${result.reason})`);
  }
}

async function measureOne(
  one: Case,
  { lane, streamLanes }: Subject,
  identities: string,
): Promise<EndResult> {
  const wire = one.link === undefined ? undefined : await Link.open(one.link);
  try {
    const common = {
      ...{ host: wire === undefined ? '127.0.0.1' : Link.host(1), port: PORT, lane, streamLanes },
      ...{ seconds: SECONDS, identities },
      warmUpSeconds: lane === 'auto' ? AUTO_WARM_UP_SECONDS : WARM_UP_SECONDS,
    };
    const host = startEnd(wire, 1, { role: 'host', ...common });
    try {
      await once(host.child.stdout!, 'data');
      const dialler = startEnd(wire, 0, { role: 'dialler', ...common });
      await dialler.ended;
      return JSON.parse(dialler.output().trim().split('\n').at(-1)!) as EndResult;
    } finally {
      host.child.kill('SIGKILL');
      await host.ended.catch(() => {});
    }
  } finally {
    await wire?.close();
  }
}

function startEnd(wire: Link | undefined, end: 0 | 1, options: EndOptions) {
  const script = join(import.meta.dirname, 'wan.end.ts');
  const words = [process.execPath, script, JSON.stringify(options)];
  const [program = '', ...rest] = wire === undefined ? words : wire.at(end, words);
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
