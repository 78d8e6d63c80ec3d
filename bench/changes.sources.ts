/** The ways of finding a day's change that `bench changes` compares, each with its own volume. */
import { mkdirSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { nodeEnv } from '../src/core/index.ts';
import { connect } from '../src/nbd/index.ts';
import { Qmp } from '../src/track/qmp.ts';
import { type Running, run, runOk, start } from '../test/interop/processes.ts';
import { startExport } from './exports.ts';
import { isInstalled } from './processes.ts';

const env = nodeEnv();
const MIB = 2 ** 20;
const BLOCK_BYTES = 4096;
const XFS_BYTES = 6 * 2 ** 30;
const IN_FLIGHT_MAX = 16;

/** A run of blocks that differ. */
export type Change = { readonly offsetBytes: number; readonly lengthBytes: number };

/** Every run of 4 KiB blocks in which two images of one size differ; at most a MiB each. */
export async function changesBetween(before: string, after: string): Promise<Change[]> {
  await using older = await open(before);
  await using newer = await open(after);
  const { size } = await newer.stat();
  const [a, b] = [Buffer.alloc(MIB), Buffer.alloc(MIB)];
  const list: { offsetBytes: number; lengthBytes: number }[] = [];
  for (let start = 0; start < size; start += MIB) {
    await older.read(a, 0, MIB, start);
    await newer.read(b, 0, MIB, start);
    if (a.equals(b)) continue;
    let last: { offsetBytes: number; lengthBytes: number } | undefined;
    for (let at = 0; at < MIB; at += BLOCK_BYTES) {
      if (a.compare(b, at, at + BLOCK_BYTES, at, at + BLOCK_BYTES) === 0) last = undefined;
      else if (last !== undefined) last.lengthBytes += BLOCK_BYTES;
      else {
        last = { offsetBytes: start + at, lengthBytes: BLOCK_BYTES };
        list.push(last);
      }
    }
  }
  return list;
}

/** Writes them one after the other, as a guest would have. */
async function replay(
  changes: readonly Change[],
  newer: FileHandle,
  write: (bytes: Buffer, offsetBytes: number) => Promise<unknown>,
): Promise<void> {
  const flying = new Set<Promise<unknown>>();
  for (const { offsetBytes, lengthBytes } of changes) {
    const bytes = Buffer.alloc(lengthBytes);
    await newer.read(bytes, 0, lengthBytes, offsetBytes);
    const done: Promise<unknown> = write(bytes, offsetBytes).finally(() => flying.delete(done));
    flying.add(done);
    if (flying.size >= IN_FLIGHT_MAX) await Promise.race(flying);
  }
  await Promise.all(flying);
}

export type Day = { readonly before: string; readonly after: string };

/** A volume that stands at the day before, for one source. */
export interface Volume extends AsyncDisposable {
  /** What `ferry backup` is given. */
  readonly words: readonly string[];
  /** Makes the day's changes. */
  change(changes: readonly Change[]): Promise<void>;
}

export type Source = {
  readonly name: string;
  absent(): string | undefined;
  begin(folder: string, day: Day): Promise<Volume>;
};

export const sources: readonly Source[] = [
  { name: 'tracker', absent: () => undefined, begin: beginTracker },
  { name: 'qemu', absent: needs('qemu-storage-daemon', 'qemu-utils'), begin: beginQemu },
  { name: 'extents', absent: needsXfs, begin: beginExtents },
  { name: 'journal', absent: () => undefined, begin: (f, d) => beginFile(f, d, 'journal') },
  { name: 'checksum', absent: () => undefined, begin: (f, d) => beginFile(f, d, 'checksum') },
];

function needs(program: string, debianPackage: string): () => string | undefined {
  return () => (isInstalled(program) ? undefined : `not installed; Debian: ${debianPackage}`);
}

function needsXfs(): string | undefined {
  if (process.getuid?.() !== 0) return 'mounting needs root';
  return needs('mkfs.xfs', 'xfsprogs')();
}

async function copied(folder: string, { before }: Day): Promise<string> {
  const image = join(folder, 'disk.img');
  await runOk('cp', ['--sparse=always', before, image]);
  return image;
}

async function beginTracker(folder: string, day: Day): Promise<Volume> {
  const image = await copied(folder, day);
  const socket = join(folder, 'vm.sock');
  const server = await startExport({ image, name: 'vm', socket }, environmentOf(folder));
  return {
    words: ['vm', '--changes', 'tracker'],
    change: (changes) => throughNbd(changes, day, `nbd+unix:///?socket=${socket}`),
    async [Symbol.asyncDispose]() {
      server.kill('SIGTERM');
      await server.finished();
    },
  };
}

async function throughNbd(changes: readonly Change[], { after }: Day, uri: string): Promise<void> {
  await using device = await connect(env, uri);
  await using newer = await open(after);
  await replay(changes, newer, async (bytes, offsetBytes) => device.write(bytes, offsetBytes, 0));
  await device.flush();
}

/** The storage daemon is QEMU without a guest. */
async function beginQemu(folder: string, day: Day): Promise<Volume> {
  const image = await copied(folder, day);
  const [qmp, nbd] = [join(folder, 'qmp.sock'), join(folder, 'nbd.sock')];
  const control = join(folder, 'control.sock');
  const daemon: Running = start('qemu-storage-daemon', [
    ...['--blockdev', `driver=file,node-name=file0,filename=${image}`],
    ...['--blockdev', 'driver=raw,node-name=disk0,file=file0'],
    ...[qmp, control].flatMap((path, at) => [
      ...['--chardev', `socket,id=c${at},path=${path},server=on,wait=off`],
      ...['--monitor', `chardev=c${at}`],
    ]),
  ]);
  for (const path of [qmp, control]) await daemon.socket(path);
  const monitor = await Qmp.connect(env, control);
  return {
    words: [`qmp+unix:///disk0?socket=${qmp}`, '--name', 'vm', '--changes', 'qemu'],
    async change(changes) {
      const addr = { type: 'unix', data: { path: nbd } };
      await monitor.execute('nbd-server-start', { addr });
      const exported = { type: 'nbd', id: 'guest', 'node-name': 'disk0', writable: true };
      await monitor.execute('block-export-add', exported);
      await throughNbd(changes, day, `nbd+unix:///disk0?socket=${nbd}`);
      await monitor.execute('block-export-del', { id: 'guest', mode: 'hard' });
      await monitor.execute('nbd-server-stop');
    },
    async [Symbol.asyncDispose]() {
      await monitor[Symbol.asyncDispose]();
      await daemon[Symbol.asyncDispose]();
    },
  };
}

/** A file system that shares extents, in a file. */
async function beginExtents(folder: string, day: Day): Promise<Volume> {
  const [disk, mounted] = [join(folder, 'xfs.img'), join(folder, 'xfs')];
  await runOk('truncate', ['-s', `${XFS_BYTES}`, disk]);
  await runOk('mkfs.xfs', ['-q', disk]);
  mkdirSync(mounted);
  await runOk('mount', ['-o', 'loop', disk, mounted]);
  process.once('exit', () => void run('umount', [mounted]));
  const image = await copied(mounted, day);
  return {
    words: [image, '--name', 'vm', '--keep-clone'],
    change: (changes) => throughFile(changes, day, image),
    async [Symbol.asyncDispose]() {
      await runOk('umount', [mounted]);
    },
  };
}

async function beginFile(folder: string, day: Day, choice: string): Promise<Volume> {
  const image = await copied(folder, day);
  return {
    words: [image, '--name', 'vm', '--changes', choice],
    change: (changes) => throughFile(changes, day, image),
    [Symbol.asyncDispose]: async () => undefined,
  };
}

async function throughFile(changes: readonly Change[], { after }: Day, image: string) {
  await using file = await open(image, 'r+');
  await using newer = await open(after);
  await replay(changes, newer, (bytes, offsetBytes) =>
    file.write(bytes, 0, bytes.byteLength, offsetBytes),
  );
  await file.sync();
}

/** Nothing of the user's is touched. */
export function environmentOf(folder: string): NodeJS.ProcessEnv {
  const state = join(folder, 'state');
  return { ...process.env, FERRY_STATE_DIR: state, FERRY_REPO: join(folder, 'repository') };
}
