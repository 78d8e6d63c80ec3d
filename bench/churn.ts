/** Thirty days of one kind of change: what each stores, and what it takes to restore the last. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { ChurnDisk } from './churn.disk.ts';
import type { Bench, BenchOptions } from './main.ts';
import { ferry } from './package.ts';
import { type Command, measure } from './processes.ts';
import { OWN_SUBJECT, type Report } from './report.ts';

const MEGABYTE = 1_000_000;
const SEED = 20260101;
/** Days whose mean is compared: of the beginning and of the end. */
const SPAN_DAYS = 5;

export const bench: Bench = {
  summary: 'a disk that changes daily: MB stored per day, restore of the last and first [--spread]',
  run,
};

async function run(report: Report, options: BenchOptions): Promise<void> {
  const { values } = parseArgs({
    args: [...options.rest],
    options: {
      days: { type: 'string', default: '30' },
      spread: { type: 'boolean', default: false },
      scratch: { type: 'string', default: tmpdir() },
    },
  });
  const days = Number(values.days);
  const folder = mkdtempSync(join(values.scratch, 'ferry-churn-'));
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  const [image, restored] = [join(folder, 'disk.img'), join(folder, 'restored.img')];
  const command = (...words: string[]): Command => ({
    words: [ferry, ...words],
    variables: {
      FERRY_REPO: join(folder, 'repository'),
      FERRY_STATE_DIR: join(folder, 'state'),
      FERRY_CACHE_DIR: join(folder, 'cache'),
    },
  });
  const row = (metric: string, value: number, unit: string, name = `${days} days`) =>
    report.add({ case: name, subject: OWN_SUBJECT, metric, value, unit, better: 'less' });

  await measure(command('init'));
  const disk = await ChurnDisk.create(image, { seed: SEED, spread: values.spread });
  const addedBytes: number[] = [];
  for (let day = 0, before = 0; day <= days; day++) {
    if (day > 0) await disk.age();
    const { seconds } = await measure(command('backup', image, '--name', 'disk'));
    const size = sizeOf(join(folder, 'repository'));
    addedBytes.push(size - before);
    before = size;
    options.say(`day ${day}: +${megabytes(addedBytes[day]!)} MB in ${seconds.toFixed(2)} s`);
  }
  await disk.close();
  const [first, last] = [addedBytes.slice(1, 1 + SPAN_DAYS), addedBytes.slice(-SPAN_DAYS)];
  row('stored on day 0', addedBytes[0]! / MEGABYTE, 'MB');
  row('stored per day, first days', mean(first) / MEGABYTE, 'MB');
  row('stored per day, last days', mean(last) / MEGABYTE, 'MB');
  row('last days to first days', mean(last) / mean(first), 'times');

  for (let round = 0; round < options.rounds; round++) {
    const seconds: number[] = [];
    for (const back of [days - 1, 0]) {
      rmSync(restored, { force: true });
      spawnSync('sync');
      const taken = await measure(command('restore', `disk@latest~${back}`, restored));
      seconds.push(taken.seconds);
      row(`restore of day ${days - back}`, taken.seconds, 's');
      row(`restore of day ${days - back}, peak`, taken.peakBytes / MEGABYTE, 'MB');
    }
    row('restore of the last day to that of day 1', seconds[1]! / seconds[0]!, 'times');
  }
  const { status, stdout } = spawnSync('cmp', [restored, image], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`restored something else: ${stdout}`);
  const rows = values.spread ? 'another one' : 'the same one';
  report.note(
    `means of ${SPAN_DAYS} days; each day one row in 97 changes (${rows}), pages are added`,
  );
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function megabytes(bytes: number): string {
  return (bytes / MEGABYTE).toFixed(2);
}

function sizeOf(path: string): number {
  const { stdout } = spawnSync('du', ['--summarize', '--apparent-size', '--block-size=1', path]);
  return Number(stdout.toString().split('\t')[0]);
}
