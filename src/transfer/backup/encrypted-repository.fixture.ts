/** For tests: encrypted repositories, and what a host can do to the bytes of one. */
import assert from 'node:assert/strict';
import { crc32, FerryError, nodeEnv } from '../../core/index.ts';
import { memoryStore, type ObjectStore } from '../../objects/index.ts';
import type { Repository } from '../../store/index.ts';
import {
  backUp,
  checked,
  dump,
  type Expected,
  fill,
  init,
  noise,
  open,
  readAsDevice,
  restored,
  rightOrTyped,
} from './model-repository.fixture.ts';

export const env = { ...nodeEnv(), workers: { ...nodeEnv().workers, parallelism: 0 } };

export type Content = Map<string, Uint8Array>;
export type Built = { readonly content: Content; readonly expected: Expected };

/** Found nowhere in what is stored. */
export const MARKER = 'The quick brown fox jumps over the lazy dog, and nobody must know. ';
export const VOLUME = 'payroll-of-the-ministry';

export function versionOf(seed: number): Uint8Array {
  const bytes = noise(700_000, 1);
  for (let at = 0; at < 300_000; at += MARKER.length) bytes.set(Buffer.from(MARKER), at);
  bytes.fill(0, 400_000, 480_000);
  bytes.set(noise(40, seed), 350_000);
  bytes.set(noise(5000, seed), 500_000);
  return bytes;
}

export async function build(objects: ObjectStore, versions: number): Promise<Built> {
  await init(env, objects, 'encrypted');
  const repository = await open(env, objects);
  const expected: Expected = new Map();
  for (let seed = 0; seed < versions; seed++) {
    const bytes = versionOf(seed);
    const request = { volume: VOLUME, packTargetBytes: 60_000 };
    const { snapshot } = await backUp(env, repository, bytes, request);
    expected.set(snapshot.id, bytes);
  }
  return { content: await dump(objects), expected };
}

/** What opening or check says of this content; whatever is read must be right, or refused. */
export async function said(content: Content, expected: Expected, what: string): Promise<string> {
  const objects = await fill(memoryStore('hurt'), content);
  let repository: Repository;
  try {
    repository = await open(env, objects);
  } catch (error) {
    assert(error instanceof FerryError, `${what}: ${(error as Error).stack}`);
    return error.message;
  }
  for (const snapshot of repository.snapshots().slice(-3)) {
    const right = expected.get(snapshot.id);
    assert(right !== undefined, `${what}: a snapshot out of nowhere`);
    for (const read of [restored.bind(null, env), readAsDevice]) {
      await rightOrTyped(() => read(repository, snapshot), right, what);
    }
  }
  const { problems } = await checked(env, await open(env, objects));
  return problems.map(({ object, message }) => `${object}: ${message}`).join('\n');
}

/** A plain envelope with other JSON in it. */
export function rewritten(bytes: Uint8Array, edit: (json: string) => string): Uint8Array {
  const json = Buffer.from(edit(Buffer.from(bytes).toString('utf8', 16, bytes.byteLength - 4)));
  const made = Buffer.concat([bytes.subarray(0, 16), json, Buffer.alloc(4)]);
  made.writeBigUInt64LE(BigInt(json.length), 8);
  made.writeUInt32LE(crc32(made.subarray(0, -4)), made.length - 4);
  return new Uint8Array(made);
}
