/** What a writer notices of a backup of one moment, beside one that only takes processor time. */
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Running, runOk, start } from '../test/interop/processes.ts';
import { startExport } from './exports.ts';
import type { BenchOptions } from './main.ts';
import { ferry } from './package.ts';
import { median, OWN_SUBJECT, type Report } from './report.ts';
import { BLOCK_BYTES, type Window, whyNoMoment } from './tracker.numbers.ts';

const VOLUME_BYTES = 512 * 2 ** 20;
const WRITER_BYTES_PER_SECOND = 50e6;
const CASE = 'moment: 50 MB/s of random 4 KiB writes';
const CONTROL = 'control';

type Place = {
  readonly folder: string;
  readonly image: string;
  readonly env: NodeJS.ProcessEnv;
};

export async function underWriter(
  report: Report,
  options: BenchOptions,
  outer: string,
): Promise<void> {
  const folder = join(outer, 'moment');
  mkdirSync(folder);
  const env = { ...process.env, FERRY_STATE_DIR: join(folder, 'state') };
  const place = { folder, image: join(folder, 'disk.img'), env };
  writeFileSync(place.image, content());
  copyFileSync(place.image, join(folder, 'copy.img'));
  for (const name of ['vm', 'copy']) await run(place, name, 'init');
  const socket = join(folder, 'vm.sock');
  const exported = { image: place.image, name: 'vm', socket };
  await using server = await startExport(exported, env);
  await run(place, 'vm', 'backup', 'vm');
  await run(place, 'copy', 'backup', join(folder, 'copy.img'), '--name', 'copy');
  const uri = `nbd+unix:///?socket=${socket}`;
  const script = join(import.meta.dirname, 'tracker.writer.ts');
  await using writer = start(process.execPath, [script, uri, `${WRITER_BYTES_PER_SECOND}`]);
  await writer.line('ready');
  const windows = new Windows(writer);
  const ratios: number[] = [];
  for (let round = 0; round < options.rounds; round++) {
    const kinds = round % 2 === 0 ? [CONTROL, OWN_SUBJECT] : [OWN_SUBJECT, CONTROL];
    const p99: { [kind: string]: number } = {};
    for (const kind of kinds) {
      const window = await windowOf(place, kind, windows);
      p99[kind] = window.p99Ms;
      addWindow(report, kind, window);
    }
    ratios.push(p99[OWN_SUBJECT]! / p99[CONTROL]!);
    options.say(`round ${round + 1}: p99 ${p99[OWN_SUBJECT]} ms, control ${p99[CONTROL]} ms`);
  }
  report.note(`moment: the p99 is ${median(ratios).toFixed(2)} times that of the control`);
  writer.child.stdin!.end();
  const { writes } = JSON.parse(await writer.line(/"writes"/)) as { writes: number };
  server.kill('SIGTERM');
  await server.finished();
  await checkMoments(report, place, options.rounds, writes);
}

/** A backup of the moment; or one as large of a file that nobody writes to. */
async function windowOf(place: Place, kind: string, windows: Windows): Promise<Window> {
  if (kind === OWN_SUBJECT) return windows.during(() => run(place, 'vm', 'backup', 'vm'));
  const copy = join(place.folder, 'copy.img');
  copyFileSync(place.image, copy);
  const words = ['backup', copy, '--name', 'copy', '--changes', 'checksum'];
  return windows.during(() => run(place, 'copy', ...words));
}

/** Asks the writer how it fares meanwhile. */
class Windows {
  readonly #writer: Running;
  #count = 0;

  constructor(writer: Running) {
    this.#writer = writer;
  }

  async during(work: () => Promise<unknown>): Promise<Window> {
    this.#writer.child.stdin!.write('begin\n');
    await work();
    this.#writer.child.stdin!.write(`end ${++this.#count}\n`);
    return JSON.parse(await this.#writer.line(`"window":${this.#count},`)) as Window;
  }
}

function addWindow(report: Report, kind: string, window: Window): void {
  const { p50Ms, p99Ms, stallMs, seconds, bytesPerSecond } = window;
  const row = { case: CASE, subject: kind, better: 'less' } as const;
  report.add({ ...row, metric: "writer's median", value: p50Ms, unit: 'ms' });
  report.add({ ...row, metric: "writer's p99", value: p99Ms, unit: 'ms' });
  report.add({ ...row, metric: 'longest stall', value: stallMs, unit: 'ms' });
  report.add({ ...row, metric: 'the backup took', value: seconds, unit: 's' });
  const rate = { ...row, metric: 'written', value: bytesPerSecond / 1e6, unit: 'MB/s' };
  report.add({ ...rate, better: 'more' });
}

/** Every snapshot that was taken under the writer holds a prefix of its writes, and no more. */
async function checkMoments(
  report: Report,
  place: Place,
  rounds: number,
  writes: number,
): Promise<void> {
  const restored = join(place.folder, 'restored.img');
  for (let back = 0; back < rounds; back++) {
    await run(place, 'vm', 'restore', `vm@latest~${back}`, restored);
    const why = whyNoMoment(readFileSync(restored), writes);
    if (why !== undefined) throw new Error(`vm@latest~${back} is no moment: ${why}`);
    rmSync(restored);
  }
  report.note(`moment: ${rounds} snapshots under ${writes} numbered writes are one moment each`);
}

function run({ folder, env }: Place, repository: string, ...words: string[]) {
  const all = [ferry, ...words, '--repo', join(folder, repository), '--no-progress'];
  return runOk(process.execPath, all, { env, cwd: folder, timeoutMs: 120_000 });
}

/** Half of each block is noise: as compressible as disks are. */
function content(): Buffer {
  const bytes = Buffer.alloc(VOLUME_BYTES);
  let state = 1;
  for (let block = 0; block < VOLUME_BYTES; block += BLOCK_BYTES) {
    for (let at = block; at < block + BLOCK_BYTES / 2; at += 4) {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      bytes.writeUInt32LE((state ^ (state >>> 13)) >>> 0, at);
    }
  }
  return bytes;
}
