/** Moves a damaged object out of the way: its bytes stay, under a name that nothing relies on. */
import { hasCode } from '../core/index.ts';
import type { ObjectStore } from '../objects/index.ts';

/** What a copy holds in memory at a time. */
const COPY_BYTES = 4 * 1024 * 1024;

/** Copies of one object, each put aside by another repair. */
const COPIES_MAX = 1000;

/** The name it has now; undefined if the object was not there. Durable before the old one goes. */
export async function quarantine(objects: ObjectStore, key: string): Promise<string | undefined> {
  for (let number = 1; number <= COPIES_MAX; number++) {
    const to = `quarantine/${key.replaceAll('/', '-')}.${number}`;
    try {
      await copyObject(objects, key, objects, to);
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

/** Byte for byte, in pieces; OBJECT_EXISTS if the target's name is taken. */
export async function copyObject(
  from: ObjectStore,
  fromKey: string,
  to: ObjectStore,
  toKey: string,
): Promise<void> {
  const sizeBytes = await from.size(fromKey);
  await using writer = await to.create(toKey);
  const buffer = new Uint8Array(Math.min(COPY_BYTES, sizeBytes));
  for (let at = 0; at < sizeBytes; at += buffer.byteLength) {
    const part = buffer.subarray(0, Math.min(buffer.byteLength, sizeBytes - at));
    await from.getRange(fromKey, part, at);
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
