/** What starting takes: Node alone, commands that have little to do, a mount to its first byte. */
import { randomFillSync } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nodeEnv } from '../src/core/index.ts';
import { connect } from '../src/nbd/index.ts';
import { runOk, start } from '../test/interop/processes.ts';
import type { Bench, BenchOptions } from './main.ts';
import { ferry } from './package.ts';
import { OWN_SUBJECT, type Report } from './report.ts';

const DISK_BYTES = 64 * 2 ** 20;
const READ_AT_BYTES = DISK_BYTES / 2;
/** They are short. */
const RUNS_PER_ROUND = 5;

export const bench: Bench = {
  summary: 'process start included: --version, ls, a mount to its first byte; beside Node alone',
  run,
};

async function run(report: Report, options: BenchOptions): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'ferry-start-'));
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  const env = {
    ...process.env,
    FERRY_STATE_DIR: join(folder, 'state'),
    FERRY_REPO: join(folder, 'repository'),
  };
  const disk = join(folder, 'disk.img');
  writeFileSync(disk, randomFillSync(Buffer.alloc(DISK_BYTES)));
  for (const words of [['init'], ['backup', disk]]) await runOk(ferry, words, { env });
  const cases: Readonly<Record<string, () => Promise<number>>> = {
    'node alone': () => timed(() => runOk(process.execPath, ['-e', '0'])),
    'ferry --version': () => timed(() => runOk(ferry, ['--version'], { env })),
    'ferry ls': () => timed(() => runOk(ferry, ['ls'], { env })),
    'ferry mount to first byte': () => firstByte(env),
  };
  for (let round = 0; round < options.rounds * RUNS_PER_ROUND; round++) {
    for (const [name, measured] of Object.entries(cases)) {
      const value = await measured();
      const row = { case: name, subject: OWN_SUBJECT, metric: 'elapsed', better: 'less' } as const;
      report.add({ ...row, value: value / 1000, unit: 's' });
    }
  }
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const startMs = performance.now();
  await work();
  return performance.now() - startMs;
}

/** By the client in this process, which runs already. */
async function firstByte(env: NodeJS.ProcessEnv): Promise<number> {
  const startMs = performance.now();
  await using server = start(ferry, ['mount', 'disk@latest', '--json'], { env });
  const { uri } = JSON.parse(await server.line(/"uri"/)) as { uri: string };
  await using device = await connect(nodeEnv(), uri);
  await device.read(new Uint8Array(1), READ_AT_BYTES);
  const elapsedMs = performance.now() - startMs;
  server.kill('SIGTERM');
  await server.finished();
  return elapsedMs;
}
