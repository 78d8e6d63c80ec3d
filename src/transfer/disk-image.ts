/** Opens a disk that is backed up: raw bytes, or what a guest sees of a qcow2 image. */
import { dirname, isAbsolute, join } from 'node:path';
import { type Env, FerryError, hasCode } from '../core/index.ts';
import { type Device, openDevice } from '../device/index.ts';
import {
  BACKING_CHAIN_MAX,
  looksLikeQcow2,
  type Qcow2Header,
  type Qcow2Table,
  qcow2Device,
  readQcow2Header,
  readQcow2Map,
  readQcow2Snapshots,
} from '../fs/index.ts';
import { findImageSnapshot } from '../track/index.ts';
import { TransferError } from './errors.ts';
import { isWrittenByQemu } from './qemu-locks.ts';
import { isPath, openSource } from './sources.ts';

export type DiskFormat = 'auto' | 'raw' | 'qcow2';

export type DiskOptions = {
  readonly format: DiskFormat;
  /** Meta contexts to ask an NBD server for. */
  readonly contexts?: readonly string[];
  /** A snapshot inside a qcow2 image to take instead of its present state. */
  readonly snapshot?: string | undefined;
};

export interface Disk extends AsyncDisposable {
  /** What is backed up. */
  readonly device: Device;
  /** The image file itself, if it is one; what tells it from another; and its format. */
  readonly image: { readonly file: Device; readonly identity: string } | undefined;
  /** It is a regular file that is backed up as it is. */
  readonly isRawFile: boolean;
  /** What a person should know about how it was taken. */
  readonly warning: string | undefined;
}

const QCOW2_NAME = /\.qcow2?$/i;

/** Whether it is opened as a qcow2 image; what has no path never is. */
export function isTakenForQcow2(source: string, format: DiskFormat): boolean {
  if (!isPath(source)) return false;
  return format === 'qcow2' || (format === 'auto' && QCOW2_NAME.test(source));
}

/**
 * Nothing here writes qcow2, and raw bytes in the place of an image lose what it holds and its
 * format. TRANSFER_TARGET if the target is one, by its name or its first bytes.
 */
export async function checkRawTarget(env: Env, target: string): Promise<void> {
  if (!isPath(target)) return;
  if (!QCOW2_NAME.test(target) && !(await holdsQcow2(env, target))) return;
  const message = `${target} is a qcow2 image, and raw bytes would be written over it`;
  throw new TransferError('TRANSFER_TARGET', message, {
    hint: 'Restore to what `qemu-nbd --format=qcow2` serves, or say --format raw to overwrite it.',
  });
}

async function holdsQcow2(env: Env, path: string): Promise<boolean> {
  try {
    await using device = await openDevice(env.files, path, { readOnly: true });
    return await looksLikeQcow2(device);
  } catch (error) {
    // Not there, or it cannot be read: whoever opens it for writing will say.
    if (error instanceof FerryError) return false;
    throw error;
  }
}

/**
 * `auto` goes by the name, never by the content alone: a guest can write a qcow2 header, with a
 * backing file of its choice, into the first sector of a raw disk.
 */
export async function openDisk(
  env: Env,
  source: string,
  { format, contexts = [], snapshot }: DiskOptions,
): Promise<Disk> {
  const hasPath = isPath(source);
  if (format === 'qcow2' && !hasPath) {
    throw new TransferError('TRANSFER_IMAGE', `${source} is not a file that can be qcow2`, {
      hint: 'Leave --format out: what a server exports is raw.',
    });
  }
  if (!isTakenForQcow2(source, format)) {
    if (snapshot !== undefined) {
      throw new TransferError('TRANSFER_IMAGE', `${source} has no snapshots: it is taken raw`, {
        hint: 'Say --format qcow2 if it is a qcow2 image.',
      });
    }
    const device = await openSource(env, source, { readOnly: true, contexts });
    const isFile = hasPath && (await env.files.stat(source)).kind === 'file';
    return rawDisk(device, isFile, hasPath && format === 'auto');
  }
  return qcow2Disk(env, source, snapshot);
}

async function rawDisk(device: Device, isRawFile: boolean, isDoubtful: boolean): Promise<Disk> {
  let warning: string | undefined;
  if (isDoubtful && (await looksLikeQcow2(device).catch(() => false))) {
    warning = 'it begins like a qcow2 image and is taken raw; if it is one, say --format qcow2';
  }
  return {
    device,
    image: undefined,
    isRawFile,
    warning,
    [Symbol.asyncDispose]: () => device[Symbol.asyncDispose](),
  };
}

async function qcow2Disk(env: Env, path: string, snapshot: string | undefined): Promise<Disk> {
  await using opened = new AsyncDisposableStack();
  const { device, file, identity } = await openChain(env, path, { opened, depth: 0, snapshot });
  const kept = opened.move();
  return {
    device,
    image: { file, identity },
    isRawFile: false,
    warning: undefined,
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

type Opening = {
  /** Everything that is opened goes onto it. */
  readonly opened: AsyncDisposableStack;
  readonly depth: number;
  readonly snapshot?: string | undefined;
};

type Opened = { readonly device: Device; readonly file: Device; readonly identity: string };

/** The image and what it stands on. */
async function openChain(env: Env, path: string, opening: Opening): Promise<Opened> {
  const { opened, depth, snapshot } = opening;
  if (depth > BACKING_CHAIN_MAX) {
    throw imageError(path, `its chain of backing files is longer than ${BACKING_CHAIN_MAX}`);
  }
  if (await isWrittenByQemu(env, path)) {
    throw new TransferError('TRANSFER_IMAGE', `${path} is open for writing in QEMU`, {
      hint: 'Stop the guest, or back the disk up through QEMU (qmp+unix:, or an NBD export).',
    });
  }
  const file = opened.use(await openDevice(env.files, path, { readOnly: true }));
  const header = await readQcow2Header(file);
  if (header.isCorrupt) throw imageError(path, 'it is marked as corrupt');
  const map = await readQcow2Map(file, header, await tableOf(path, file, header, snapshot));
  const { device: disk, inode } = await env.files.stat(path);
  const own = `${disk}:${inode}`;
  if (header.backing === undefined) return { file, identity: own, device: qcow2Device(file, map) };
  const { file: name, format } = header.backing;
  if (format !== 'raw' && format !== 'qcow2') {
    throw imageError(path, `its backing file is of the format ${format ?? '(not told)'}`);
  }
  if (/^[a-z][a-z0-9+.-]*:/i.test(name)) throw imageError(path, `its backing file is ${name}`);
  const below = isAbsolute(name) ? name : join(dirname(path), name);
  const backing = await openBacking(env, path, { below, format }, opening);
  const identity = `${own}/${backing.identity}`;
  return { file, identity, device: qcow2Device(file, map, { backing: backing.device }) };
}

async function tableOf(
  path: string,
  file: Device,
  header: Qcow2Header,
  wanted: string | undefined,
): Promise<Qcow2Table> {
  if (wanted === undefined) return header.active;
  const snapshots = await readQcow2Snapshots(file, header);
  const found = findImageSnapshot(snapshots, wanted);
  if (found !== undefined) return found.table;
  const names = snapshots.map(({ id, name }) => `${name} (${id})`).join(', ');
  throw imageError(path, `it has no snapshot ${wanted}; it has: ${names || 'none'}`);
}

/** Whoever changes a backing file changes all that stands on it: its size and time count. */
async function openBacking(
  env: Env,
  path: string,
  { below, format }: { readonly below: string; readonly format: 'raw' | 'qcow2' },
  { opened, depth }: Opening,
): Promise<Pick<Opened, 'device' | 'identity'>> {
  try {
    const { device: disk, inode, sizeBytes, modifiedMs } = await env.files.stat(below);
    const identity = `${disk}:${inode}:${sizeBytes}:${modifiedMs}`;
    if (format === 'raw') {
      const device = opened.use(await openDevice(env.files, below, { readOnly: true }));
      return { device, identity };
    }
    const chain = await openChain(env, below, { opened, depth: depth + 1 });
    return { device: chain.device, identity: `${identity}/${chain.identity}` };
  } catch (error) {
    if (!hasCode(error, 'DEVICE_NOT_FOUND') && !hasCode(error, 'ENV_NOT_FOUND')) throw error;
    throw imageError(path, `its backing file ${below} is not there`, error);
  }
}

function imageError(path: string, what: string, cause?: unknown): TransferError {
  return new TransferError('TRANSFER_IMAGE', `${path} cannot be read as qcow2: ${what}`, {
    hint: 'Serve it with `qemu-nbd --read-only`, and back that up.',
    cause,
  });
}
