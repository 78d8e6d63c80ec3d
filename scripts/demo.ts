/** The demo: a real file system backed up, changed as a day does, mounted, restored, compared. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import {
  createReadStream,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { nodeEnv } from '../src/core/index.ts';
import { connect } from '../src/nbd/index.ts';
import { makeDatabase } from './demo/database.ts';
import { DATABASE, IMAGE, LOG, logLines, oneDay } from './demo/one-day.ts';
import { copyRealFiles, type Selection } from './demo/real-files.ts';
import {
  command,
  detail,
  findTool,
  MIB,
  type Shell,
  say,
  secondsSinceStart,
  step,
} from './demo/story.ts';

const CONTENT_BYTES = 540 * MIB;
const IMAGE_BYTES = 768 * MIB;
/** The files, the disk, the repository and the restored disk, with some air. */
const ROOM_BYTES = 3 * 1024 * MIB;
const READ_BYTES = MIB;

const ferryPath = fileURLToPath(new URL('../bin/ferry', import.meta.url));

function ferry(shell: Shell, line: string): string {
  const words = line.split(' ');
  return command(shell, { path: ferryPath, arguments: words, shown: `ferry ${line}`, echo: true });
}

function scratchFolder(): string {
  const fits = (folder: string) => {
    const { bavail, bsize } = statfsSync(folder);
    return bavail * bsize >= ROOM_BYTES;
  };
  const parent = [tmpdir(), '/var/tmp', process.cwd()].find(fits);
  if (parent === undefined) throw new Error('the demo needs 3 GiB of free space in $TMPDIR');
  const folder = mkdtempSync(join(parent, 'ferry-demo-'));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

function makeDisk(shell: Shell, folder: string): Selection {
  step("A disk: an ext4 file system of this machine's own files");
  const selection = copyRealFiles(folder, CONTENT_BYTES);
  for (const path of [DATABASE, LOG]) mkdirSync(dirname(join(folder, path)), { recursive: true });
  makeDatabase(join(folder, DATABASE));
  writeFileSync(join(folder, LOG), logLines(0, 80_000));
  command(shell, {
    path: findTool('mkfs.ext4')!,
    arguments: ['-q', '-F', '-d', folder, IMAGE, `${IMAGE_BYTES / MIB}M`],
    shown: `mkfs.ext4 -q -d files ${IMAGE} ${IMAGE_BYTES / MIB}M`,
  });
  const size = Math.round(selection.bytes / MIB);
  detail(`${selection.files.length} files, ${size} MiB; a SQLite database; a log`);
  return selection;
}

async function fileHash(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const bytes of createReadStream(path, { highWaterMark: READ_BYTES }))
    hash.update(bytes);
  return hash.digest('hex');
}

/** Serves the snapshot, reads all of it through NBD, and stops the server. */
async function hashThroughMount(shell: Shell, snapshot: string): Promise<string> {
  detail(`$ ferry mount ${snapshot} &`);
  const server = spawn(ferryPath, ['mount', snapshot, '--json'], {
    cwd: shell.directory,
    env: { ...process.env, ...shell.variables },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    const uri = await readyUri(server);
    detail(`ready: ${uri}`);
    await using device = await connect(nodeEnv(), uri, { connections: 2, readOnly: true });
    const hash = createHash('sha256');
    const buffers = [new Uint8Array(READ_BYTES), new Uint8Array(READ_BYTES)];
    const read = async (at: number, turn: number) => {
      const target = buffers[turn]!.subarray(0, Math.min(READ_BYTES, device.sizeBytes - at));
      await device.read(target, at);
      return target;
    };
    let next = read(0, 0);
    for (let at = 0, turn = 0; at < device.sizeBytes; at += READ_BYTES, turn = 1 - turn) {
      const bytes = await next;
      if (at + READ_BYTES < device.sizeBytes) next = read(at + READ_BYTES, 1 - turn);
      hash.update(bytes);
    }
    return hash.digest('hex');
  } finally {
    server.kill('SIGINT');
    if (server.exitCode === null) await once(server, 'exit');
  }
}

async function readyUri(server: ChildProcess): Promise<string> {
  for await (const line of createInterface(server.stdout!)) {
    const { state, uri } = JSON.parse(line) as { state?: string; uri?: string };
    if (state === 'ready' && uri !== undefined) return uri;
  }
  throw new Error('ferry mount ended before it was ready');
}

function tellSame(label: string, expected: string, found: string): void {
  assert.equal(found, expected, `${label} differs`);
  detail(`SHA-256 ${found.slice(0, 16)}...: identical to ${label}`);
}

async function main(): Promise<void> {
  const missing = ['mkfs.ext4', 'debugfs', 'e2fsck'].filter((tool) => findTool(tool) === undefined);
  if (missing.length > 0) {
    throw new Error(
      `the demo needs ${missing.join(' and ')}; on Debian: apt-get install e2fsprogs`,
    );
  }
  const directory = scratchFolder();
  const variables = {
    FERRY_REPO: 'repository',
    FERRY_STATE_DIR: join(directory, 'state'),
    DEBUGFS_PAGER: 'cat',
  };
  const shell: Shell = { directory, variables };
  const folder = join(directory, 'files');
  mkdirSync(folder);
  say('Blockferry backs up a real disk, incrementally, and gives every day back.');

  const { files } = makeDisk(shell, folder);
  const firstDay = await fileHash(join(directory, IMAGE));

  step('A repository, and the first backup');
  ferry(shell, 'init');
  ferry(shell, `backup ${IMAGE}`);

  step('A day passes on the disk');
  oneDay(shell, folder, files);
  const secondDay = await fileHash(join(directory, IMAGE));

  step('The second backup finds what changed, and stores only that');
  ferry(shell, `backup ${IMAGE}`);
  ferry(shell, 'ls');

  step('The first day, mounted over NBD and read from end to end');
  tellSame('the disk of the first day', firstDay, await hashThroughMount(shell, 'disk@latest~1'));

  step('The second day, restored');
  ferry(shell, 'restore disk@latest restored.img');
  tellSame(
    'the disk of the second day',
    secondDay,
    await fileHash(join(directory, 'restored.img')),
  );

  say(`\nDone in ${secondsSinceStart()}. Try next:`);
  detail('bin/ferry analyze DISK.IMG');
  detail('bin/ferry init --repo ~/disks && bin/ferry backup DISK.IMG --name mine --repo ~/disks');
  detail('bin/ferry mount mine@latest --rw --commit --repo ~/disks');
}

for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, () => process.exit(130));

try {
  await main();
} catch (error) {
  process.stderr.write(`demo: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
