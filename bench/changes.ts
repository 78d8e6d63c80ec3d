/** A day's change of a disk, found in each of the ways there are: how long, how much is read. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { run as runProgram } from '../test/interop/processes.ts';
import {
  type Change,
  changesBetween,
  type Day,
  environmentOf,
  type Source,
  sources,
} from './changes.sources.ts';
import type { Bench, BenchOptions } from './main.ts';
import { ferry } from './package.ts';
import { interleave, type Report } from './report.ts';

const MEGABYTE = 1e6;
/** Of one state there are several backups: each has nothing to do. */
const UNCHANGED_RUNS = 3;

export const bench: Bench = {
  summary: "a day's change found by each source --images DIR [--subjects tracker,qemu,...]",
  run,
};

async function run(report: Report, options: BenchOptions): Promise<void> {
  const { values } = parseArgs({
    args: [...options.rest],
    options: { images: { type: 'string' }, subjects: { type: 'string' } },
  });
  if (values.images === undefined) throw new Error('--images DIR: see scripts/make-images.sh');
  const day = { before: join(values.images, 'g2.img'), after: join(values.images, 'g3.img') };
  const scratch = mkdtempSync(join(tmpdir(), 'ferry-changes-'));
  process.once('exit', () => rmSync(scratch, { recursive: true, force: true }));
  const changes = await changesBetween(day.before, day.after);
  const bytes = changes.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0);
  report.note(`the day: ${(bytes / MEGABYTE).toFixed(1)} MB in ${changes.length} runs of blocks`);
  const digest = await digestOf(join(scratch, 'reference'), day.after);
  const wanted = present(report, values.subjects?.split(','));
  await interleave(wanted, options.rounds, async (source, round) => {
    const folder = join(scratch, `${source.name}-${round}`);
    mkdirSync(folder);
    const took = new Took(report, options, source, folder);
    await took.day(day, changes, digest);
    rmSync(folder, { recursive: true, force: true });
  });
  report.note(
    'seconds are those of the whole process, its start included; all is in the page cache',
  );
}

function present(report: Report, wanted: readonly string[] | undefined): Source[] {
  return sources.filter((source) => {
    const reason = wanted?.includes(source.name) === false ? 'not asked for' : source.absent();
    if (reason !== undefined) report.absent(source.name, reason);
    return reason === undefined;
  });
}

type Summary = { readonly [field: string]: unknown };

/** What the whole disk is after that day. */
async function digestOf(folder: string, image: string): Promise<string> {
  mkdirSync(folder);
  await told(folder, ['init']);
  await told(folder, ['backup', image, '--name', 'vm']);
  const { digest } = await told(folder, ['show', 'vm@latest']);
  rmSync(folder, { recursive: true, force: true });
  return String(digest);
}

class Took {
  readonly #report: Report;
  readonly #options: BenchOptions;
  readonly #source: Source;
  readonly #folder: string;

  constructor(report: Report, options: BenchOptions, source: Source, folder: string) {
    this.#report = report;
    this.#options = options;
    this.#source = source;
    this.#folder = folder;
  }

  /** The day before is backed up; then its changes are made, and found. */
  async day(day: Day, changes: readonly Change[], digest: string): Promise<void> {
    await using volume = await this.#source.begin(this.#folder, day);
    const { name } = this.#source;
    const backup = ['backup', ...volume.words];
    await told(this.#folder, ['init']);
    // The first backup asks whoever can say: nobody can yet.
    const first = backup.filter(
      (word, at) => word !== '--changes' && backup[at - 1] !== '--changes',
    );
    await told(this.#folder, first);
    await volume.change(changes);
    try {
      const found = await this.#timed("the day's change", backup);
      if (found.source !== name) throw new Error(`found by ${found.source}, not by ${name}`);
      const shown = await told(this.#folder, ['show', 'vm@latest']);
      if (shown.digest !== digest) throw new Error(`${name}: the snapshot is not the day's state`);
      for (let count = 0; count < UNCHANGED_RUNS; count++) await this.#timed('unchanged', backup);
    } catch (error) {
      this.#report.absent(name, (error as Error).message.split('\n')[0]!);
    }
  }

  async #timed(state: string, words: readonly string[]): Promise<Summary> {
    const startMs = performance.now();
    const found = await told(this.#folder, words);
    const seconds = (performance.now() - startMs) / 1000;
    const row = { case: state, subject: this.#source.name, better: 'less' } as const;
    const readMb = Number(found.readBytes) / MEGABYTE;
    this.#report.add({ ...row, metric: 'backup', value: seconds, unit: 's' });
    this.#report.add({ ...row, metric: 'read', value: readMb, unit: 'MB' });
    const inside = Number(found.durationMs) / 1000;
    this.#report.add({ ...row, metric: 'of that after the start', value: inside, unit: 's' });
    this.#options.say(`${this.#source.name}, ${state}: ${seconds.toFixed(3)} s`);
    return found;
  }
}

/** The last line that the command printed. */
async function told(folder: string, words: readonly string[]): Promise<Summary> {
  const all = ['--json', '--no-progress', ...words];
  const env = environmentOf(folder);
  const { exitCode, stdout, stderr } = await runProgram(ferry, all, { env, timeoutMs: 120_000 });
  if (exitCode !== 0) {
    const { message = stderr } = JSON.parse(stderr.trim().split('\n').at(-1)!) as Summary;
    throw new Error(String(message));
  }
  return JSON.parse(stdout.trim().split('\n').at(-1)!) as Summary;
}
