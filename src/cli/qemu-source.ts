/** `qmp+unix:///NODE?socket=PATH`: a disk of a running QEMU, through its machine protocol. */
import { resolve } from 'node:path';
import { sha256, toHex } from '../core/index.ts';
import {
  checksumSource,
  fullSource,
  openQemuMoment,
  parseQemuMemory,
  qemuBitmapSource,
} from '../track/index.ts';
import { originOf } from '../transfer/index.ts';
import type { BackupSource } from './backup-source.ts';
import type { Context } from './context.ts';
import { usageError } from './errors.ts';
import { memoryOf } from './other-sources.ts';
import { stateFolder } from './repository.ts';

const SCHEME = 'qmp+unix:';

export function isQmpUri(source: string): boolean {
  return source.startsWith(SCHEME);
}

function parseQmpUri(source: string): { node: string; socket: string } {
  const url = URL.canParse(source) ? new URL(source) : undefined;
  const node = decodeURIComponent(url?.pathname.slice(1) ?? '');
  const socket = url?.searchParams.get('socket') ?? '';
  if (node !== '' && socket !== '' && url?.host === '') return { node, socket: resolve(socket) };
  throw usageError(`${source} is not qmp+unix:///NODE?socket=PATH`, 'ferry backup');
}

/** The moment begins here: what the guest writes from now on is not in the backup. */
export async function openQemuSource(context: Context, source: string): Promise<BackupSource> {
  const { env } = context;
  const { node, socket } = parseQmpUri(source);
  // One folder for each disk, whatever repository it goes to: its lock keeps backups apart.
  const name = toHex(sha256(new TextEncoder().encode(`${socket}\0${node}`)).subarray(0, 8));
  const { directory, makeDirectory } = stateFolder(context, `qemu/${name}`);
  await makeDirectory();
  const moment = await openQemuMoment(env, { socket, node, directory });
  return {
    device: moment.device,
    volume: node,
    origin: originOf(source),
    running: undefined,
    warning: undefined,
    identify: async () => undefined,
    changeSources(repository, volume) {
      const memory = memoryOf(context, repository, volume, 'qemu-bitmap', parseQemuMemory);
      return [qemuBitmapSource({ moment, memory }), checksumSource(), fullSource()];
    },
    [Symbol.asyncDispose]: () => moment[Symbol.asyncDispose](),
  };
}
