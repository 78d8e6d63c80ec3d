/** What the NBD interop tests share: a scratch folder, a server in this process, an image. */
import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Env, nodeEnv } from '../../src/core/index.ts';
import type { Device } from '../../src/device/index.ts';
import { type Exports, type NbdServer, serve } from '../../src/nbd/index.ts';

export const env: Env = nodeEnv();
export const MIB = 1024 * 1024;

export type Scratch = AsyncDisposable & {
  readonly folder: string;
  path(name: string): string;
  /** Serves one device as the default export, or several by name. */
  serve(exports: Device | Exports): Promise<NbdServer>;
};

/** Disposing it closes the servers and removes the folder. */
export async function scratch(): Promise<Scratch> {
  const folder = await mkdtemp(join(tmpdir(), 'ferry-interop-'));
  const servers: NbdServer[] = [];
  return {
    folder,
    path: (name) => join(folder, name),
    async serve(exports) {
      const table = 'blockSizes' in exports ? new Map([['', exports]]) : exports;
      const path = join(folder, `${servers.length}.sock`);
      const server = await serve(env, { address: { kind: 'unix', path }, exports: table });
      servers.push(server);
      return server;
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(servers.map((server) => server.close()));
      await rm(folder, { recursive: true });
    },
  };
}

/** 24 MiB that are neither all zero nor all alike, with holes: the same every time. */
export function sampleBytes(): Buffer {
  const bytes = Buffer.alloc(24 * MIB);
  let state = 12_345;
  for (let block = 0; block < bytes.byteLength; block += 65_536) {
    if ((block / 65_536) % 3 === 1) continue;
    for (let at = block; at < block + 65_536; at += 4) {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
      bytes.writeUInt32LE(state, at);
    }
  }
  return bytes;
}

/** Writes what is not zero, so that the rest stays a hole. */
export async function writeSparse(path: string, bytes: Buffer): Promise<void> {
  await using file = await open(path, 'w');
  await file.truncate(bytes.byteLength);
  for (let at = 0; at < bytes.byteLength; at += 65_536) {
    const block = bytes.subarray(at, at + 65_536);
    if (block.some((byte) => byte !== 0)) await file.write(block, 0, block.byteLength, at);
  }
}

export async function readAll(device: Device): Promise<Buffer> {
  const bytes = Buffer.alloc(device.sizeBytes);
  await device.read(bytes, 0);
  return bytes;
}
