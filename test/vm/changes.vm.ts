/** Goal: on the disk of a real guest every source tells at least what changed; how much more. */
import assert from 'node:assert/strict';
import { mkdir, open } from 'node:fs/promises';
import { createConnection, type Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { type Line, place } from '../cli/ferry.ts';
import { run, runOk } from '../interop/processes.ts';
import { boot, ferryPath, guest, jobText } from './guest.ts';

const MIB = 2 ** 20;
const DISK_BYTES = 768 * MIB;
const FILE_SYSTEM_BYTES = 4 * 2 ** 30;
const BLOCK = 4096;
const CHUNK = 65_536;
const DAYS = ['first', 'packages', 'database', 'deletes and fstrim'];

/** In the order in which they are asked; each has a repository and a state directory of its own. */
const sources = ['tracker', 'qemu', 'extents', 'journal', 'checksum'] as const;
type Source = (typeof sources)[number];

test('what each source tells of a guest holds what changed', { timeout: 1_800_000 }, async (t) => {
  const machine = await guest();
  await using here = await place();
  await using _xfs = await mountedXfs(here.folder);
  const image = here.path('xfs/data.img');
  await runOk('truncate', ['-s', `${DISK_BYTES}`, image]);
  await runOk('mkfs.ext4', ['-q', '-F', '-J', 'size=64', image]);
  const words = ['xfs/data.img', '--name', 'data', '--listen', 'unix:data.sock'];
  const server = await here.serve('export', ...words);
  const paths = { qmp: here.path('qmp.sock'), days: here.path('days.sock') };
  const asked: { readonly [name in Source]: readonly string[] } = {
    tracker: ['data'],
    qemu: [`qmp+unix:///data0?socket=${paths.qmp}`],
    extents: [image, '--keep-clone'],
    journal: [image],
    checksum: [image],
  };

  async function told(source: Source, ...more: readonly string[]): Promise<Line> {
    const { exitCode, stdout, stderr } = await ask(source, ...more);
    assert.equal(exitCode, 0, stderr);
    return JSON.parse(stdout.trim().split('\n').at(-1)!) as Line;
  }

  function ask(source: Source, ...more: readonly string[]) {
    const state = source === 'tracker' ? here.path('state') : here.path(`state-${source}`);
    const env = { ...process.env, FERRY_STATE_DIR: state, FERRY_REPO: here.path(`r-${source}`) };
    const all = ['--json', '--no-progress', ...more];
    return run(ferryPath, all, { env, timeoutMs: 600_000 });
  }

  async function look(day: number): Promise<void> {
    const before = here.path('xfs/before.img');
    const truth = day === 0 ? undefined : await differences(before, image);
    const digests = new Set<unknown>();
    for (const source of sources) {
      if (day === 0) await told(source, 'init');
      const choice = day === 0 && source !== 'journal' ? [] : ['--changes', source];
      const words = ['backup', ...asked[source], '--name', 'data', '--audit', '0'];
      const answer = await ask(source, ...words, ...choice);
      // A journal may have wrapped: it says so, and another one tells.
      const isSaid = answer.exitCode === 0 || source !== 'journal';
      if (!isSaid) {
        assert.match(answer.stderr, /TRACK_CANNOT_SAY/);
        t.diagnostic(`| ${DAYS[day]} | journal | cannot say | ${answer.stderr.trim()}`);
        await told(source, ...words);
      } else assert.equal(answer.exitCode, 0, answer.stderr);
      const line = JSON.parse(answer.stdout.trim().split('\n').at(-1) || '{}') as Line;
      const seconds = (Number(line.durationMs) / 1000).toFixed(2);
      // The rest of the snapshot is the one before: with a block untold it would be another disk.
      digests.add((await told(source, 'show', 'data@latest')).digest);
      if (truth === undefined || !isSaid) continue;
      assert.equal(line.source, source);
      const read = Number(line.readBytes);
      // What was trimmed is known to be empty, and not read.
      const toldBytes = read + Number(line.skippedBytes);
      assert.ok(toldBytes >= truth.chunks * CHUNK, `${source}: ${toldBytes} bytes told`);
      const ratio = (read / (truth.chunks * CHUNK)).toFixed(2);
      const row = [DAYS[day], source, mb(truth.blocks * BLOCK), mb(truth.chunks * CHUNK), mb(read)];
      t.diagnostic(`| ${[...row, ratio, `${seconds} s`].join(' | ')} |`);
    }
    assert.equal(digests.size, 1, 'the sources made snapshots of different disks');
    await runOk('cp', ['--reflink=always', image, before]);
  }

  const job = await jobText('changes.sh');
  const disk = `driver=nbd,node-name=data0,server.type=unix,server.path=${here.path('data.sock')}`;
  const printed = await boot(machine, {
    job,
    more: [
      ...['-serial', `unix:${paths.days},server=on,wait=off`],
      ...['-qmp', `unix:${paths.qmp},server=on,wait=off`],
      ...['-blockdev', `${disk},export=data,discard=unmap`],
      ...['-device', 'virtio-blk-pci,drive=data0,serial=ferry-data,addr=0x10'],
    ],
    beside: () => eachDay(paths.days, look),
  });
  assert.match(printed, /^step: deletes and trim/m);
  server.kill('SIGTERM');
  assert.equal((await server.finished()).exitCode, 0);
  await runOk('/usr/sbin/e2fsck', ['-fn', image]);
});

/** The guest says that a day is over, waits while the host looks, and goes on when told to. */
async function eachDay(path: string, look: (day: number) => Promise<void>): Promise<void> {
  const serial = await connected(path);
  try {
    let day = 0;
    for await (const line of createInterface({ input: serial })) {
      assert.equal(line.trim(), `day ${day}`);
      await look(day);
      serial.write('go\n');
      if (++day === DAYS.length) return;
    }
  } finally {
    serial.destroy();
  }
}

/** QEMU may not listen yet. */
async function connected(path: string): Promise<Socket> {
  for (let attempt = 0; ; attempt++) {
    const socket = createConnection(path);
    const isThere = await new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    });
    if (isThere) return socket;
    assert.ok(attempt < 300, `nobody listens on ${path}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** Blocks, and chunks, in which two images differ. */
async function differences(before: string, after: string) {
  await using a = await open(before);
  await using b = await open(after);
  const [older, newer] = [Buffer.alloc(MIB), Buffer.alloc(MIB)];
  const found = { blocks: 0, chunks: 0 };
  for (let start = 0; start < DISK_BYTES; start += MIB) {
    await a.read(older, 0, MIB, start);
    await b.read(newer, 0, MIB, start);
    for (let chunk = 0; chunk < MIB; chunk += CHUNK) {
      let blocks = 0;
      for (let at = chunk; at < chunk + CHUNK; at += BLOCK) {
        if (older.compare(newer, at, at + BLOCK, at, at + BLOCK) !== 0) blocks++;
      }
      found.blocks += blocks;
      if (blocks > 0) found.chunks++;
    }
  }
  return found;
}

async function mountedXfs(folder: string): Promise<AsyncDisposable> {
  const [image, target] = [join(folder, 'xfs.img'), join(folder, 'xfs')];
  await runOk('truncate', ['-s', `${FILE_SYSTEM_BYTES}`, image]);
  await runOk('mkfs.xfs', ['-q', image]);
  await mkdir(target);
  await runOk('mount', ['-o', 'loop', image, target]);
  return { [Symbol.asyncDispose]: async () => void (await run('umount', ['--lazy', target])) };
}

function mb(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
