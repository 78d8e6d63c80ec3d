/**
 * `npm run torture -- tracker [KILLS]`: kills processes that write to a tracked image, with kill -9
 * at random moments, and compares the whole image with what it was at the last acknowledged cut:
 * a block that differs and is not told is a lost mark.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  openSync,
  readSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { nodeEnv } from '../../src/core/index.ts';
import { bundled } from './bundle.ts';
import { Total } from './total.ts';
import { openTracker } from './tracker-place.ts';

const MIB = 2 ** 20;
const SIZES = [32 * MIB, 48 * MIB + 8192, 64 * MIB];
const BLOCK_BYTES = 4096;
const LOAD_MS_MAX = 300;
const program = 'test/torture/tracker.child.ts';
const modules = ['test/torture/tracker.ts', program];
const env = nodeEnv();

/** True if no mark was lost in all rounds so far. */
export async function tortureTracker(folder: string, kills: number): Promise<boolean> {
  const total = new Total('tracker', modules);
  process.stdout.write(`code ${total.code}, totals in ${total.path}\n`);
  const kind = 'kill -9';
  const before = total.get(kind, 'rounds');
  const path = bundled(program);
  for (let turn = before; turn < kills; turn++) {
    const place = join(folder, `size-${turn % SIZES.length}`);
    const verdict = await killRound(path, place, SIZES[turn % SIZES.length]!, turn);
    total.add(kind, verdict);
    if (verdict.lost > 0) process.stderr.write(`round ${turn}: ${verdict.lost} marks are lost\n`);
  }
  const of = (count: string) => total.get(kind, count);
  process.stdout.write(
    `${of('rounds')} kills, ${of('rounds') - before} of them in this run: ` +
      `${of('changed')} blocks changed, ${of('told')} told, ${of('lost')} marks lost, ` +
      `${of('forgotten')} cursors forgotten\n`,
  );
  return of('lost') + of('forgotten') === 0;
}

type Verdict = {
  readonly changed: number;
  readonly told: number;
  readonly lost: number;
  readonly forgotten: number;
};

async function killRound(
  path: string,
  place: string,
  sizeBytes: number,
  seed: number,
): Promise<Verdict> {
  const image = join(place, 'disk.img');
  const reference = join(place, 'reference.img');
  const isNew = await begin(place, image, reference, sizeBytes);
  const child = spawn(process.execPath, [path, place, `${seed + 1}`], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  await new Promise((go) => setTimeout(go, Math.random() * LOAD_MS_MAX));
  child.kill('SIGKILL');
  await once(child, 'exit');
  const verdict = await judge(place, image, reference);
  // Now and then begin anew, so that the first run of a tracker is among the rounds.
  if (!isNew && seed % 40 === 0) rmSync(place, { recursive: true });
  return verdict;
}

/** An image, and a cursor of the consumer `torture` that holds it as it is. */
async function begin(
  place: string,
  image: string,
  reference: string,
  sizeBytes: number,
): Promise<boolean> {
  if (existsSync(reference)) return false;
  mkdirSync(place, { recursive: true });
  writeFileSync(image, Buffer.alloc(sizeBytes, 0x11));
  await using tracker = await openTracker(env, place);
  await using cut = tracker.cut();
  await tracker.acknowledge('torture', cut, { snapshot: 's', digest: 'd' });
  copyFileSync(image, reference);
  return true;
}

async function judge(place: string, image: string, reference: string): Promise<Verdict> {
  await using tracker = await openTracker(env, place);
  const cursor = tracker.cursor('torture');
  const map = cursor && (await tracker.changes(cursor.epoch));
  let told = 0;
  let changed = 0;
  let lost = 0;
  const blocks = statSync(image).size / BLOCK_BYTES;
  for (let block = 0; block < blocks; block++) if (map?.test(block) === true) told++;
  bringUp(image, reference, (block) => {
    changed++;
    if (map?.test(block) === false) lost++;
  });
  map?.release();
  await using cut = tracker.cut();
  await tracker.acknowledge('torture', cut, { snapshot: 's', digest: 'd' });
  return { changed, told, lost, forgotten: map === undefined ? 1 : 0 };
}

/** Makes `reference` like the image, and tells every block that was not. */
function bringUp(image: string, reference: string, onChanged: (block: number) => void): void {
  const from = openSync(image, 'r');
  const to = openSync(reference, 'r+');
  const [now, then] = pieces;
  for (let at = 0; ; at += PIECE_BYTES) {
    const lengthBytes = readSync(from, now, 0, PIECE_BYTES, at);
    if (lengthBytes === 0) break;
    readSync(to, then, 0, PIECE_BYTES, at);
    for (let start = 0; start < lengthBytes; start += BLOCK_BYTES) {
      const end = start + BLOCK_BYTES;
      if (now.compare(then, start, end, start, end) === 0) continue;
      onChanged((at + start) / BLOCK_BYTES);
      writeSync(to, now, start, BLOCK_BYTES, at + start);
    }
  }
  closeSync(from);
  closeSync(to);
}

/** Few enough to stay in the processor's cache. */
const PIECE_BYTES = MIB / 4;
const pieces = [Buffer.alloc(PIECE_BYTES), Buffer.alloc(PIECE_BYTES)] as const;
