/** What the tests of replication share: replicas over repositories on simulated disks. */
import assert from 'node:assert/strict';
import type { Draws } from '../../sim/index.ts';
import { codecPool, encodeFrame, FRAME_STORED_MAX } from '../codec/index.ts';
import { type Env, sha256 } from '../core/index.ts';
import type { Device } from '../device/index.ts';
import { directoryStore } from '../objects/index.ts';
import { Repository } from '../store/index.ts';
import {
  type BlockData,
  type Entry,
  type EpochCommit,
  type EpochCut,
  KIND_DATA,
  KIND_ZERO,
} from '../wire/index.ts';
import { backup } from './backup/index.ts';
import { type MakeSnapshot, Replica, type ReplicaOptions } from './replicate/index.ts';

export const KIB = 1024;
export const BLOCK = 4 * KIB;
/** Two chunks and a bit: the last one is short. */
export const SIZE = 140 * KIB;

const REPOSITORY = '/repo';
const REPLICA = '/replica';
/** Of digests that nobody keeps. */
export const noDigest = new Uint8Array(32);

export async function makePlace(env: Env): Promise<void> {
  for (const directory of [REPOSITORY, REPLICA]) await env.files.makeDirectory(directory);
  await env.files.syncDirectory('/');
  await using objects = await directoryStore(env.files, REPOSITORY, env.random);
  await Repository.init(env, objects, { chunkBytes: 64 * KIB });
}

export type Opened = AsyncDisposable & {
  readonly repository: Repository;
  readonly replica: Replica;
};

export async function openPlace(env: Env, options: Partial<ReplicaOptions> = {}): Promise<Opened> {
  const objects = await directoryStore(env.files, REPOSITORY, env.random);
  const repository = await Repository.open(env, objects);
  try {
    const replica = await Replica.open(env, {
      ...{ directory: REPLICA, volume: 'vol', owner: 'agent', sizeBytes: SIZE, repository },
      makeSnapshot: makeSnapshotIn(env, repository),
      ...options,
    });
    return {
      ...{ repository, replica },
      async [Symbol.asyncDispose]() {
        await replica[Symbol.asyncDispose]();
        await repository[Symbol.asyncDispose]();
      },
    };
  } catch (error) {
    await repository[Symbol.asyncDispose]();
    throw error;
  }
}

export function makeSnapshotIn(env: Env, repository: Repository): MakeSnapshot {
  return async (device, since, wish) => {
    await using pool = codecPool(env, 0);
    const how = since === undefined ? { compare: false } : { since };
    const request = { ...wish, changeSource: 'replica', pool, ...how };
    return (await backup(env, repository, device, request)).snapshot;
  };
}

export type Write = { readonly offsetBytes: number; readonly bytes: Uint8Array };

/** A message with these writes; what is all zero is told as such. */
export function dataOf(epoch: number, writes: readonly Write[]): BlockData {
  const target = new Uint8Array(FRAME_STORED_MAX);
  const entries: Entry[] = writes.map(({ offsetBytes, bytes }) => {
    const isZero = bytes.every((byte) => byte === 0);
    return {
      ...{ offsetBytes, lengthBytes: bytes.byteLength, blockClass: 0, importance: 0 },
      kind: isZero ? KIND_ZERO : KIND_DATA,
      hash: isZero ? undefined : sha256(bytes),
    };
  });
  const inputs = writes.flatMap(({ bytes }, at) =>
    entries[at]!.kind === KIND_ZERO ? [] : [{ kind: 'plain', bytes } as const],
  );
  const level = { algorithm: 'zstd', level: 1 } as const;
  const frame = inputs.length === 0 ? 0 : encodeFrame(inputs, level, target);
  return { volume: 1, epoch, request: 0, entries, frame: target.slice(0, frame) };
}

export function cutOf(epoch: number, base: number): EpochCut {
  return { volume: 1, epoch, base, authority: 1, group: 0, wallMs: 0, changedBytes: 0 };
}

export function commitOf(epoch: number, messages: readonly BlockData[]): EpochCommit {
  const recordCount = messages.reduce((sum, { entries }) => sum + entries.length, 0);
  return { volume: 1, epoch, messageCount: messages.length, recordCount, digest: noDigest };
}

/** Blocks that do not overlap, in one or two messages; a third of them zero. */
export function drawWrites(draws: Draws): Write[][] {
  const blocks = new Set<number>();
  for (let at = 0; at < 1 + draws.below(8); at += 1) blocks.add(draws.below(SIZE / BLOCK));
  const writes = [...blocks].map((block) => {
    const bytes = new Uint8Array(BLOCK);
    if (draws.chance(0.7)) bytes.fill(1 + draws.below(250), draws.below(2000));
    return { offsetBytes: block * BLOCK, bytes };
  });
  const half = draws.below(writes.length + 1);
  return [writes.slice(0, half), writes.slice(half)].filter((part) => part.length > 0);
}

export function applied(before: Uint8Array, writes: readonly (readonly Write[])[]): Uint8Array {
  const after = before.slice();
  for (const { offsetBytes, bytes } of writes.flat()) after.set(bytes, offsetBytes);
  return after;
}

/** Sends an epoch as an agent does: all of it at once, then the commit. */
export async function sendEpoch(
  replica: Replica,
  epoch: number,
  writes: readonly (readonly Write[])[],
): Promise<void> {
  await replica.begin(cutOf(epoch, replica.epoch));
  const messages = writes.map((part) => dataOf(epoch, part));
  await Promise.all(messages.map((message) => replica.put(message)));
  assert.equal(await replica.commit(commitOf(epoch, messages)), true);
}

/** The present epoch of a replica. */
export async function presentOf(replica: Replica): Promise<Uint8Array> {
  using view = replica.view();
  return await contentOf(view.device);
}

export async function contentOf(device: Device): Promise<Uint8Array> {
  const bytes = new Uint8Array(device.sizeBytes);
  await device.read(bytes, 0);
  return bytes;
}
