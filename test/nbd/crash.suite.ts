/** Servers that are killed, and power that is cut, under a load of numbered blocks. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { nodeEnv } from '../../src/core/index.ts';
import { connect, type NbdDevice } from '../../src/nbd/index.ts';
import { type Running, runOk, start } from '../interop/processes.ts';
import { BLOCK_BYTES, BLOCKS, type Forcing, NumberedLoad } from './numbered-load.ts';

const VOLUME_BYTES = BLOCKS * BLOCK_BYTES;
const FILE_SYSTEM_BYTES = 32 * 1024 * 1024;
const env = nodeEnv();

export type Round = {
  readonly folder: string;
  readonly forcing: Forcing;
  /** How long the load runs on, from its first promise, before the end comes. */
  readonly loadMs: number;
  /** The server promises durability and does nothing for it. */
  readonly isForgetful?: boolean;
};

export type Verdict = {
  /** Blocks of which a number had been promised. */
  readonly promised: number;
  /** Sectors that lack it. */
  readonly missing: number;
};

async function serving(socket: string, path: string, isForgetful = false): Promise<Running> {
  const script = join(import.meta.dirname, 'server.fixture.ts');
  const manner = isForgetful ? ['forgetful'] : [];
  const server = start(process.execPath, [script, socket, path, ...manner]);
  await server.socket(socket);
  return server;
}

function opened(socket: string): Promise<NbdDevice> {
  return connect(env, `nbd+unix:///?socket=${socket}`, { connections: 2, reconnectTimeoutMs: 1 });
}

/** kill -9 under load, a new server, and what it has of what the old one promised. */
export async function killRound(round: Round): Promise<Verdict> {
  const { folder } = round;
  const path = join(folder, 'killed.img');
  writeFileSync(path, '');
  truncateSync(path, VOLUME_BYTES);
  const { load, promised } = await loadUntil(round, path, (server) => server.kill('SIGKILL'));
  const socket = join(folder, 'after.sock');
  await using _after = await serving(socket, path);
  await using device = await opened(socket);
  const content = new Uint8Array(VOLUME_BYTES);
  await device.read(content, 0);
  return { promised: promised.filter(Boolean).length, missing: load.missingIn(content, promised) };
}

/** Runs the load for its time, then `end`; what had been promised by then is what counts. */
async function loadUntil(round: Round, path: string, end: (server: Running) => void) {
  const socket = join(round.folder, 'before.sock');
  await using server = await serving(socket, path, round.isForgetful);
  const device = await opened(socket);
  const load = new NumberedLoad(device, round.forcing);
  const running = load.run();
  await load.hasPromised;
  await new Promise((resolve) => setTimeout(resolve, round.loadMs));
  const promised = load.promises();
  end(server);
  load.stop();
  server.kill('SIGKILL');
  await server.finished();
  await Promise.resolve(device[Symbol.asyncDispose]()).catch(() => undefined);
  await running;
  return { load, promised };
}

/** Why power cuts cannot be tried here, or undefined if they can. */
export function whyNoPowerCuts(): string | undefined {
  if (process.getuid?.() !== 0) return 'power cuts need root (loop devices, mounting)';
  for (const tool of ['losetup', 'mkfs.ext4', 'mount']) {
    if (spawnSync('sh', ['-c', `command -v ${tool}`]).status !== 0) return `${tool} is missing`;
  }
  return spawnSync('losetup', ['-f']).status === 0 ? undefined : 'there is no free loop device';
}

/**
 * The volume lies on ext4 on a loop device. The copy of what backs that device, made while the
 * server stands still, is what a disk without power would hold: what was not forced is not in it.
 */
export async function powerCutRound(round: Round): Promise<Verdict> {
  const { folder } = round;
  const backing = join(folder, 'disk.ext4');
  const after = join(folder, 'after.ext4');
  rmSync(backing, { force: true });
  writeFileSync(backing, '');
  truncateSync(backing, FILE_SYSTEM_BYTES);
  await runOk('mkfs.ext4', ['-q', '-F', backing]);
  const done = await mounted(folder, backing, async (mountPoint) => {
    const path = join(mountPoint, 'volume.img');
    writeFileSync(path, new Uint8Array(VOLUME_BYTES));
    await runOk('sync', ['--file-system', mountPoint]);
    return await loadUntil(round, path, (server) => {
      server.kill('SIGSTOP');
      copyFileSync(backing, after);
    });
  });
  const content = await mounted(folder, after, async (mountPoint) =>
    readFileSync(join(mountPoint, 'volume.img')),
  );
  assert.equal(statSync(after).size, FILE_SYSTEM_BYTES);
  const { load, promised } = done;
  return { promised: promised.filter(Boolean).length, missing: load.missingIn(content, promised) };
}

async function mounted<T>(
  folder: string,
  image: string,
  use: (mountPoint: string) => Promise<T>,
): Promise<T> {
  const mountPoint = join(folder, 'mounted');
  mkdirSync(mountPoint, { recursive: true });
  await runOk('mount', ['-o', 'loop', image, mountPoint]);
  try {
    return await use(mountPoint);
  } finally {
    await runOk('umount', [mountPoint]);
  }
}
