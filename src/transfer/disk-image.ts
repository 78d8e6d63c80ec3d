/** Opens a disk that is backed up: raw bytes, or what a guest sees of a qcow2 image. */
import { dirname, isAbsolute, join } from 'node:path';
import { type Env, FerryError, hasCode } from '../core/index.ts';
import { type Device, openDevice } from '../device/index.ts';
import {
  BACKING_CHAIN_MAX,
  looksLikeQcow2,
  qcow2Device,
  readQcow2Header,
  readQcow2Map,
} from '../fs/index.ts';
import { isUri } from '../nbd/index.ts';
import { TransferError } from './errors.ts';
import { isWrittenByQemu } from './qemu-locks.ts';
import { openSource } from './sources.ts';

export type DiskFormat = 'auto' | 'raw' | 'qcow2';

export type DiskOptions = {
  readonly format: DiskFormat;
  /** Meta contexts to ask an NBD server for. */
  readonly contexts?: readonly string[];
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

/**
 * `auto` goes by the name, never by the content alone: a guest can write a qcow2 header, with a
 * backing file of its choice, into the first sector of a raw disk.
 */
export async function openDisk(
  env: Env,
  source: string,
  { format, contexts = [] }: DiskOptions,
): Promise<Disk> {
  const isPath = !isUri(source) && !source.startsWith('memory:');
  if (format === 'qcow2' && !isPath) {
    throw new TransferError('TRANSFER_IMAGE', `${source} is not a file that can be qcow2`, {
      hint: 'Leave --format out: what a server exports is raw.',
    });
  }
  if (!isPath || (format !== 'qcow2' && !(format === 'auto' && QCOW2_NAME.test(source)))) {
    const device = await openSource(env, source, { readOnly: true, contexts });
    const isFile = isPath && (await env.files.stat(source)).kind === 'file';
    return rawDisk(device, isFile, isPath && format === 'auto');
  }
  return qcow2Disk(env, source);
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

async function qcow2Disk(env: Env, path: string): Promise<Disk> {
  await using opened = new AsyncDisposableStack();
  const { device, file } = await openChain(env, path, opened, 0);
  const { device: disk, inode } = await env.files.stat(path);
  const kept = opened.move();
  return {
    device,
    isRawFile: false,
    image: { file, identity: `${disk}:${inode}` },
    warning: undefined,
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

/** The image and what it stands on; everything that is opened goes onto the stack. */
async function openChain(
  env: Env,
  path: string,
  opened: AsyncDisposableStack,
  depth: number,
): Promise<{ device: Device; file: Device }> {
  if (depth > BACKING_CHAIN_MAX) {
    throw imageError(path, `its chain of backing files is longer than ${BACKING_CHAIN_MAX}`);
  }
  if (await isWrittenByQemu(env, path)) {
    throw new TransferError('TRANSFER_IMAGE', `${path} is open for writing in QEMU`, {
      hint: 'Stop the guest, or have QEMU export the disk over NBD and back that up.',
    });
  }
  const file = opened.use(await openDevice(env.files, path, { readOnly: true }));
  const header = await readQcow2Header(file);
  if (header.isCorrupt) throw imageError(path, 'it is marked as corrupt');
  const map = await readQcow2Map(file, header);
  if (header.backing === undefined) return { file, device: qcow2Device(file, map) };
  const { file: name, format } = header.backing;
  if (format !== 'raw' && format !== 'qcow2') {
    throw imageError(path, `its backing file is of the format ${format ?? '(not told)'}`);
  }
  if (/^[a-z][a-z0-9+.-]*:/i.test(name)) throw imageError(path, `its backing file is ${name}`);
  const below = isAbsolute(name) ? name : join(dirname(path), name);
  const backing =
    format === 'raw'
      ? opened.use(await openDevice(env.files, below, { readOnly: true }))
      : (await openBacking(env, path, below, opened, depth)).device;
  return { file, device: qcow2Device(file, map, { backing }) };
}

async function openBacking(
  env: Env,
  path: string,
  below: string,
  opened: AsyncDisposableStack,
  depth: number,
): Promise<{ device: Device; file: Device }> {
  try {
    return await openChain(env, below, opened, depth + 1);
  } catch (error) {
    if (!(error instanceof FerryError) || !hasCode(error, 'DEVICE_NOT_FOUND')) throw error;
    throw imageError(path, `its backing file ${below} is not there`, error);
  }
}

function imageError(path: string, what: string, cause?: unknown): TransferError {
  return new TransferError('TRANSFER_IMAGE', `${path} cannot be read as qcow2: ${what}`, {
    hint: 'Serve it with `qemu-nbd --read-only`, and back that up.',
    cause,
  });
}
