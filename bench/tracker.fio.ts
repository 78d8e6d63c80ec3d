/** What tracking costs under fio: two exports over files in the page cache, in turn. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Running, runOk, start } from '../test/interop/processes.ts';
import { findTool } from '../test/interop/tools.ts';
import type { BenchOptions } from './main.ts';
import { median, OWN_SUBJECT, type Report } from './report.ts';

/** What fio writes: 128 regions, all of which stay warm. */
const FIO_BYTES = 512 * 2 ** 20;
const PAIRS = 10;
const CASE = 'fio: 4 KiB random writes, depth 16';
/** Of the counts of processor time in /proc. */
const TICKS_PER_SECOND = 100;

export async function withFio(
  report: Report,
  options: BenchOptions,
  folder: string,
  seconds: number,
): Promise<void> {
  const fio = findTool('fio');
  if (fio === undefined) return report.absent('fio', 'not installed; Debian: fio');
  const exports: Running[] = [];
  for (const name of ['untracked', 'tracked']) {
    exports.push(await startExport(folder, join(folder, `${name}.img`), name));
  }
  const ask = async (name: string, runtime: number) => {
    const server = exports[name === 'tracked' ? 1 : 0]!;
    // Regions that were idle for ten seconds are cold again.
    await runFio(fio, folder, name, ['--runtime=1', '--time_based']);
    const before = processorSeconds(server.pid);
    const job = await runFio(fio, folder, name, [`--runtime=${runtime}`, '--time_based']);
    const used = processorSeconds(server.pid) - before;
    return { rate: job.iops, usPerRequest: (used * 1e6) / job.total_ios };
  };
  for (const name of ['untracked', 'tracked']) {
    // Every block once, in order: all regions are warm, and the file has all its pages.
    await runFio(fio, folder, name, [`--io_size=${FIO_BYTES}`, '--rw=write', '--bs=1M']);
    await ask(name, 2); // Compiled.
  }
  const ratios: number[] = [];
  for (let pair = 0; pair < PAIRS; pair++) {
    // Who comes first is at an advantage, or not: each does in turn.
    const order = pair % 2 === 0 ? ['untracked', 'tracked'] : ['tracked', 'untracked'];
    const rates: { [name: string]: number } = {};
    for (const name of order) {
      const { rate, usPerRequest } = await ask(name, seconds);
      rates[name] = rate;
      const subject = name === 'tracked' ? OWN_SUBJECT : name;
      const row = { case: CASE, subject };
      report.add({ ...row, metric: 'requests', value: rate, unit: '1/s', better: 'more' });
      const metric = "export's processor time per request";
      report.add({ ...row, metric, value: usPerRequest, unit: 'us', better: 'less' });
    }
    ratios.push(rates.tracked! / rates.untracked!);
    options.say(`pair ${pair + 1}: ${ratios.at(-1)!.toFixed(3)}`);
  }
  for (const server of exports) await server[Symbol.asyncDispose]();
  const [least, most] = [Math.min(...ratios), Math.max(...ratios)].map((one) => one.toFixed(2));
  report.note(
    `fio: median ratio of ${PAIRS} pairs ${median(ratios).toFixed(3)} (${least} to ${most})`,
  );
}

async function startExport(folder: string, image: string, name: string): Promise<Running> {
  await runOk('truncate', ['-s', `${FIO_BYTES}`, image]);
  const socket = join(folder, `${name}.sock`);
  const ferry = join(import.meta.dirname, '../bin/ferry');
  const words = [ferry, 'export', image, '--name', name, '--listen', `unix:${socket}`];
  const server = start(process.execPath, name === 'tracked' ? words : [...words, '--untracked'], {
    env: { ...process.env, FERRY_STATE_DIR: join(folder, 'fio-state') },
  });
  await server.socket(socket);
  return server;
}

async function runFio(fio: string, folder: string, name: string, more: readonly string[]) {
  const socket = join(folder, `${name}.sock`);
  const { stdout } = await runOk(
    fio,
    [
      ...['--name=bench', '--ioengine=nbd', `--uri=nbd+unix:///?socket=${socket}`],
      ...['--rw=randwrite', '--bs=4096', '--iodepth=16', `--size=${FIO_BYTES}`],
      ...['--norandommap', '--output-format=json', ...more],
    ],
    { cwd: folder, timeoutMs: 120_000 },
  );
  return JSON.parse(stdout.slice(stdout.indexOf('{'))).jobs[0].write;
}

/** Of a process and its threads until now. */
function processorSeconds(pid: number): number {
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}
