/** Moves a damaged object out of the way: its bytes stay, under a name that nothing relies on. */
import { hasCode } from '../core/index.ts';
import type { ObjectStore } from '../objects/index.ts';
import { STRIPE_BYTES } from './limits.ts';
import { readAround } from './read-around.ts';

/** What a copy holds in memory at a time. */
const COPY_BYTES = 4 * 1024 * 1024;

/** Copies of one object, each put aside by another repair. */
const COPIES_MAX = 1000;

/**
 * The name it has now; undefined if the object was not there. Durable before the old one goes.
 * Sectors that cannot be read are zeroes in it.
 */
export async function quarantine(objects: ObjectStore, key: string): Promise<string | undefined> {
  for (let number = 1; number <= COPIES_MAX; number++) {
    const to = setAsideKey(key, number);
    try {
      await copyObject(objects, key, objects, to, readAround);
    } catch (error) {
      if (hasCode(error, 'OBJECT_EXISTS')) continue;
      if (hasCode(error, 'OBJECT_NOT_FOUND')) return undefined;
      throw error;
    }
    await objects.remove(key);
    return to;
  }
  return undefined;
}

function setAsideKey(key: string, number: number): string {
  return `quarantine/${key.replaceAll('/', '-')}.${number}`;
}

/** The copies of the object that repairs have set aside. */
export async function* setAsideKeys(objects: ObjectStore, key: string): AsyncGenerator<string> {
  for await (const { key: aside } of objects.list('quarantine/')) {
    if (aside.startsWith(setAsideKey(key, 1).slice(0, -1))) yield aside;
  }
}

type ReadPart = (
  from: ObjectStore,
  key: string,
  target: Uint8Array,
  offsetBytes: number,
) => Promise<unknown>;

const readStrictly: ReadPart = (from, key, target, at) => from.getRange(key, target, at);

/** Byte for byte, in pieces; OBJECT_EXISTS if the target's name is taken. */
export async function copyObject(
  from: ObjectStore,
  fromKey: string,
  to: ObjectStore,
  toKey: string,
  read = readStrictly,
): Promise<void> {
  const sizeBytes = await from.size(fromKey);
  await using writer = await to.create(toKey);
  // Of much the same length: all that fails of a short last one would be taken for absent.
  const parts = Math.max(1, Math.ceil(sizeBytes / COPY_BYTES));
  const buffer = new Uint8Array(Math.ceil(sizeBytes / parts / STRIPE_BYTES) * STRIPE_BYTES);
  for (let at = 0; at < sizeBytes; at += buffer.byteLength) {
    const part = buffer.subarray(0, Math.min(buffer.byteLength, sizeBytes - at));
    await read(from, fromKey, part, at);
    await writer.append(part);
  }
  await writer.commit();
}

/** Replaces a damaged object, or one that is not there, by these bytes. */
export async function replaceObject(
  objects: ObjectStore,
  key: string,
  bytes: Uint8Array,
): Promise<void> {
  await quarantine(objects, key);
  await objects.putIfAbsent(key, bytes);
}

/** A large object; another repair may put the same bytes at the same time. */
export async function putUnlessThere(
  objects: ObjectStore,
  key: string,
  bytes: Uint8Array,
): Promise<void> {
  try {
    await using writer = await objects.create(key);
    await writer.append(bytes);
    await writer.commit();
  } catch (error) {
    if (!hasCode(error, 'OBJECT_EXISTS')) throw error;
  }
}
