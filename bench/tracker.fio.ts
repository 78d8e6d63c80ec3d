/** What tracking costs under fio: two exports over files in the page cache, in turn. */
import { join } from 'node:path';
import { type Running, runOk } from '../test/interop/processes.ts';
import { startExport } from './exports.ts';
import { fioWrites } from './fio.ts';
import type { BenchOptions } from './main.ts';
import { processorSeconds } from './processes.ts';
import { median, OWN_SUBJECT, type Report } from './report.ts';
import { toolFor } from './tools.ts';

/** What fio writes: 128 regions, all of which stay warm. */
const FIO_BYTES = 512 * 2 ** 20;
const PAIRS = 10;
const CASE = 'fio: 4 KiB random writes, depth 16';

export async function withFio(
  report: Report,
  options: BenchOptions,
  folder: string,
  seconds: number,
): Promise<void> {
  const fio = toolFor(report, 'fio');
  if (fio === undefined) return;
  const exports: Running[] = [];
  const env = { ...process.env, FERRY_STATE_DIR: join(folder, 'fio-state') };
  for (const name of ['untracked', 'tracked']) {
    const image = join(folder, `${name}.img`);
    await runOk('truncate', ['-s', `${FIO_BYTES}`, image]);
    const more = name === 'tracked' ? [] : ['--untracked'];
    const place = { image, name, socket: join(folder, `${name}.sock`) };
    exports.push(await startExport(place, env, more));
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

async function runFio(fio: string, folder: string, name: string, more: readonly string[]) {
  const socket = join(folder, `${name}.sock`);
  const uri = `nbd+unix:///?socket=${socket}`;
  const words = ['--iodepth=16', `--size=${FIO_BYTES}`, '--norandommap', ...more];
  return fioWrites({ fio, folder, uri, timeoutMs: 120_000 }, words);
}
