/** Backup of a disk's successive generations: Blockferry beside borg, restic, bup and casync. */
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import { backupSubjects, type Subject, type Workplace } from './backup-subjects.ts';
import type { Bench, BenchOptions } from './main.ts';
import { measure, PEAK_NOTE } from './processes.ts';
import { interleave, type Report } from './report.ts';

const root = join(import.meta.dirname, '..');
const MEGABYTE = 1_000_000;

export const bench: Bench = {
  summary: 'stored MB, seconds, memory and restore on a disk in four generations [--images DIR]',
  run,
};

async function run(report: Report, options: BenchOptions): Promise<void> {
  const { values } = parseArgs({
    args: [...options.rest],
    options: {
      images: { type: 'string' },
      scratch: { type: 'string', default: tmpdir() },
      subjects: { type: 'string' },
    },
  });
  const images = imagesIn(values.images ?? builtImages(options));
  const subjects = presentSubjects(report, values.subjects?.split(','));
  const scratch = mkdtempSync(join(values.scratch, 'ferry-bench-'));
  process.once('exit', () => rmSync(scratch, { recursive: true, force: true }));
  const series = copySeries(images, scratch, options);
  const place = (subject: Subject, round: number): Workplace => ({
    directory: join(scratch, `${subject.name.replaceAll(' ', '-')}-${round}`),
    image: join(scratch, 'disk.img'),
  });
  for (let round = 0; round < options.rounds; round += 1) {
    options.say(`round ${round + 1} of ${options.rounds}`);
    const turn = new Turn(report, options, (subject) => place(subject, round));
    await turn.all(subjects, round, (subject) => turn.init(subject));
    for (const generation of series) {
      renameSync(generation.path, join(scratch, 'disk.img'));
      await turn.all(subjects, round, (subject) => turn.backup(subject, generation.name));
      if (generation === series.at(-1)) {
        await turn.all(subjects, round, (subject) => turn.restore(subject, generation.name));
      }
      renameSync(join(scratch, 'disk.img'), generation.path);
    }
    for (const subject of subjects) {
      rmSync(place(subject, round).directory, { recursive: true, force: true });
    }
  }
  report.note(PEAK_NOTE);
  report.note('stored: du --apparent-size of the repository; MB are 10^6 bytes');
  report.note('the images are in the page cache; written data is flushed before each measurement');
}

type Generation = { readonly name: string; readonly path: string };

/** One round: every subject does a step before any does the next. */
class Turn {
  readonly #report: Report;
  readonly #options: BenchOptions;
  readonly #place: (subject: Subject) => Workplace;
  readonly #storedBytes = new Map<string, number>();

  constructor(report: Report, options: BenchOptions, place: (subject: Subject) => Workplace) {
    this.#report = report;
    this.#options = options;
    this.#place = place;
  }

  /** The subject that begins changes from round to round. */
  async all(
    subjects: readonly Subject[],
    round: number,
    step: (subject: Subject) => Promise<void>,
  ): Promise<void> {
    const at = round % subjects.length;
    await interleave([...subjects.slice(at), ...subjects.slice(0, at)], 1, step);
  }

  async init(subject: Subject): Promise<void> {
    const place = this.#place(subject);
    mkdirSync(place.directory, { recursive: true });
    for (const command of subject.init(place)) await measure(command);
  }

  async backup(subject: Subject, generation: string): Promise<void> {
    const place = this.#place(subject);
    spawnSync('sync');
    const { seconds, peakBytes } = await measure(subject.backup(place, generation));
    const storedBytes = sizeOf(subject.repository(place));
    const addedBytes = storedBytes - (this.#storedBytes.get(subject.name) ?? 0);
    this.#storedBytes.set(subject.name, storedBytes);
    this.#add(subject, generation, 'stored', storedBytes / MEGABYTE, 'MB');
    this.#add(subject, generation, 'added', addedBytes / MEGABYTE, 'MB');
    this.#add(subject, generation, 'backup', seconds, 's');
    this.#add(subject, generation, 'backup peak', peakBytes / MEGABYTE, 'MB');
    const added = (addedBytes / MEGABYTE).toFixed(1);
    this.#options.say(`  ${generation} ${subject.name}: ${seconds.toFixed(2)} s, +${added} MB`);
  }

  async restore(subject: Subject, generation: string): Promise<void> {
    const place = this.#place(subject);
    spawnSync('sync');
    const { seconds, peakBytes } = await measure(subject.restore(place, generation));
    this.#add(subject, generation, 'restore', seconds, 's');
    this.#add(subject, generation, 'restore peak', peakBytes / MEGABYTE, 'MB');
    this.#options.say(`  ${generation} ${subject.name}: restored in ${seconds.toFixed(2)} s`);
    const restored = subject.restored(place);
    const { status, stdout } = spawnSync('cmp', [restored, place.image], { encoding: 'utf8' });
    if (status !== 0) throw new Error(`${subject.name} restored something else: ${stdout}`);
    rmSync(restored);
  }

  #add(subject: Subject, name: string, metric: string, value: number, unit: string): void {
    this.#report.add({ case: name, subject: subject.name, metric, value, unit, better: 'less' });
  }
}

function presentSubjects(report: Report, wanted: readonly string[] | undefined): Subject[] {
  return backupSubjects.filter((subject) => {
    const reason = wanted?.includes(subject.name) === false ? 'not asked for' : subject.absent();
    if (reason !== undefined) report.absent(subject.name, reason);
    return reason === undefined;
  });
}

function imagesIn(directory: string): string[] {
  const images = globSync('*.img', { cwd: directory }).sort();
  if (images.length === 0) throw new Error(`there are no *.img files in ${directory}`);
  return images.map((name) => join(directory, name));
}

function builtImages({ say }: BenchOptions): string {
  const directory = join(root, '.cache', 'images');
  if (existsSync(join(directory, 'g3.img'))) return directory;
  say('building the disk images (once; root and a Debian mirror are needed) ...');
  const script = join(root, 'scripts', 'make-images.sh');
  const { status } = spawnSync(script, [directory], { stdio: ['ignore', 2, 2] });
  if (status !== 0) throw new Error('the images could not be built; pass --images DIR');
  return directory;
}

/**
 * Copies, because each generation must be at the same path when it is backed up, as a disk is in
 * real life, and the originals are not ours to rename. Copying warms the page cache as well.
 */
function copySeries(images: readonly string[], scratch: string, { say }: BenchOptions) {
  return images.map((image): Generation => {
    const path = join(scratch, basename(image));
    const { status, stderr } = spawnSync('cp', ['--sparse=always', image, path]);
    if (status !== 0) throw new Error(`cannot copy ${image}: ${stderr}`);
    const { size, blocks } = statSync(path);
    say(`${basename(image)}: ${size} bytes, ${blocks * 512} allocated`);
    return { name: basename(image, '.img'), path };
  });
}

function sizeOf(path: string): number {
  const { stdout } = spawnSync('du', ['--summarize', '--apparent-size', '--block-size=1', path]);
  return Number(stdout.toString().split('\t')[0]);
}
