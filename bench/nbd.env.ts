/** What Env costs on the hot path: the same server with and without it, by turns. */
import { join } from 'node:path';
import { runOk, start } from '../test/interop/processes.ts';
import type { BenchOptions } from './main.ts';
import { interleave, type Report } from './report.ts';

const kinds = ['seam', 'bare'] as const;

export async function envRows(
  report: Report,
  options: BenchOptions,
  folder: string,
  seconds: number,
): Promise<void> {
  const script = join(import.meta.dirname, 'nbd.server.ts');
  const socket = (kind: string) => join(folder, `${kind}.sock`);
  const servers = kinds.map((kind) => start(process.execPath, [script, socket(kind), kind]));
  await Promise.all(servers.map((server, at) => server.socket(socket(kinds[at]!))));
  try {
    // Differences of 2 % need many short turns.
    await interleave([...kinds], options.rounds * 4, async (kind) => {
      const { stdout } = await runOk(
        'fio',
        [
          ...['--name=bench', '--ioengine=nbd', `--uri=nbd+unix:///?socket=${socket(kind)}`],
          ...['--rw=randread', '--bs=4096', '--iodepth=16', '--size=64M', '--time_based'],
          ...[`--runtime=${seconds}`, '--output-format=json'],
        ],
        { cwd: folder, timeoutMs: (seconds + 60) * 1000 },
      );
      const [job] = JSON.parse(stdout.slice(stdout.indexOf('{'))).jobs;
      const where = { case: 'env: randread 4 KiB, 16 in flight', metric: 'requests' };
      const subject = kind === 'seam' ? 'blockferry' : 'without Env';
      report.add({ ...where, subject, value: job.read.iops, unit: '1/s', better: 'more' });
    });
  } finally {
    await Promise.all(servers.map((server) => server[Symbol.asyncDispose]()));
  }
  options.say("env: the seam's cost");
}
