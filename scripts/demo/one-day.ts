/** What a day does to the demo's disk, without root: debugfs, and pages written in place. */
import assert from 'node:assert/strict';
import { closeSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { PAGE_BYTES, paidOrders, updateDatabase } from './database.ts';
import { command, detail, findTool, MIB, type Shell } from './story.ts';

export const DATABASE = 'var/lib/shop/orders.db';
export const LOG = 'var/log/shop.log';
export const IMAGE = 'disk.img';

const EDITED_FILES = 12;
const REMOVED_FILES = 12;

export function logLines(from: number, count: number): string {
  let text = '';
  for (let line = from; line < from + count; line++) {
    const time = new Date(1_790_000_000_000 + line * 1300).toISOString();
    text += `${time} shop[812]: GET /orders/${(line * 7919) % 60_000} 200 ${line % 97} ms\n`;
  }
  return text;
}

/** `files` are on the disk; `folder` holds copies of them all, which may be changed. */
export function oneDay(shell: Shell, folder: string, files: readonly string[]): void {
  changeFiles(shell, folder, files);
  updatePagesInPlace(shell, folder);
  const check = {
    path: findTool('e2fsck')!,
    arguments: ['-fn', IMAGE],
    shown: `e2fsck -fn ${IMAGE}`,
  };
  detail(command(shell, check).trim().split('\n').at(-1)!);
}

function debugfs(shell: Shell, words: string[], shown: string, input?: string): string {
  const path = findTool('debugfs')!;
  return command(shell, {
    path,
    arguments: words,
    shown,
    ...(input === undefined ? {} : { input }),
  });
}

/** Edits, removals and a longer log; debugfs frees and takes blocks as the kernel does. */
function changeFiles(shell: Shell, folder: string, files: readonly string[]): void {
  const lines: string[] = [];
  const spread = Math.floor(files.length / (EDITED_FILES + REMOVED_FILES + 1));
  for (let at = 0; at < EDITED_FILES + REMOVED_FILES; at++) {
    const file = files[(at + 1) * spread]!;
    lines.push(`rm "/${file}"`);
    if (at >= EDITED_FILES) continue;
    const edited = join(folder, `edited-${at}`);
    const content = readFileSync(join(folder, file));
    writeFileSync(edited, Buffer.concat([content, Buffer.from(`edited on day ${at}\n`)]));
    lines.push(`write "${edited}" "/${file}"`);
  }
  writeFileSync(join(folder, LOG), logLines(80_000, 30_000), { flag: 'a' });
  lines.push(`rm /${LOG}`, `write "${join(folder, LOG)}" /${LOG}`);
  const script = join(folder, 'day.debugfs');
  writeFileSync(script, `${lines.join('\n')}\n`);
  debugfs(shell, ['-w', '-f', script, IMAGE], `debugfs -w -f day.debugfs ${IMAGE}`);
  detail(`${EDITED_FILES} files edited, ${REMOVED_FILES} removed, 30000 lines more in /${LOG}`);
}

/** Consecutive blocks: the first one's number in the file, and on the disk. */
type Run = { readonly logical: number; readonly physical: number; readonly count: number };

function runsOf(shell: Shell, file: string): Run[] {
  const query = `dump_extents -l /${file}`;
  const listing = debugfs(shell, ['-R', query, IMAGE], `debugfs -R "${query}" ${IMAGE}`);
  const row = /^\s*\d+\/\s*\d+\s+\d+\/\s*\d+\s+(\d+)\s*-\s*\d+\s+(\d+)\s*-\s*\d+\s+(\d+)/gm;
  return [...listing.matchAll(row)].map(([, logical, physical, count]) => ({
    logical: Number(logical),
    physical: Number(physical),
    count: Number(count),
  }));
}

/** Updates the database beside the disk, then writes the pages that differ to where they belong. */
function updatePagesInPlace(shell: Shell, folder: string): void {
  const path = join(folder, DATABASE);
  const before = readFileSync(path);
  const rows = updateDatabase(path);
  const after = readFileSync(path);
  assert.equal(after.byteLength, before.byteLength, 'an update in place keeps the size');
  const runs = runsOf(shell, DATABASE);
  const image = openSync(join(shell.directory, IMAGE), 'r+');
  let pages = 0;
  for (let at = 0; at < after.byteLength; at += PAGE_BYTES) {
    const page = after.subarray(at, at + PAGE_BYTES);
    if (page.equals(before.subarray(at, at + PAGE_BYTES))) continue;
    const block = at / PAGE_BYTES;
    const run = runs.find(({ logical, count }) => block >= logical && block < logical + count);
    assert(run !== undefined, `block ${block} of the database is nowhere on the disk`);
    writeSync(image, page, 0, PAGE_BYTES, (run.physical + block - run.logical) * PAGE_BYTES);
    pages += 1;
  }
  closeSync(image);
  const size = (after.byteLength / MIB).toFixed(1);
  detail(`UPDATE of ${rows} orders: ${pages} pages of the ${size} MiB database changed in place`);
  checkDatabase(shell, folder, rows);
}

/** The disk's own copy of the database must be whole, or the pages went to the wrong places. */
function checkDatabase(shell: Shell, folder: string, rows: number): void {
  const copy = join(folder, 'orders-of-the-disk.db');
  debugfs(
    shell,
    ['-R', `dump /${DATABASE} "${copy}"`, IMAGE],
    `debugfs -R "dump /${DATABASE} orders.db" ${IMAGE}`,
  );
  assert.equal(paidOrders(copy), rows);
  detail(`PRAGMA integrity_check: ok; ${rows} orders paid`);
}
