/** Reads what a failing medium still gives. */
import { hasCode } from '../core/index.ts';
import type { ObjectStore } from '../objects/index.ts';
import { STRIPE_BYTES } from './limits.ts';

/** What is lost with one bad sector. */
const SECTOR_BYTES = STRIPE_BYTES;

/** A medium that gives less than this share of an object is taken for absent, not for damaged. */
const READABLE_MIN = 0.5;

/**
 * Fills `target` from the object; sectors that cannot be read are zero. Answers how many bytes
 * those are; OBJECT_IO if they are more than a half, as nothing may be concluded from that.
 */
export async function readAround(
  objects: ObjectStore,
  key: string,
  target: Uint8Array,
  offsetBytes: number,
): Promise<number> {
  try {
    await objects.getRange(key, target, offsetBytes);
    return 0;
  } catch (error) {
    if (!hasCode(error, 'OBJECT_IO')) throw error;
    const lost = await readHalves(objects, key, target, offsetBytes);
    if (lost > target.byteLength * (1 - READABLE_MIN)) throw error;
    return lost;
  }
}

/** What failed as a whole, in two parts that meet where a sector begins. */
async function readHalves(
  objects: ObjectStore,
  key: string,
  target: Uint8Array,
  offsetBytes: number,
): Promise<number> {
  const half = offsetBytes + target.byteLength / 2;
  const middle = Math.ceil(half / SECTOR_BYTES) * SECTOR_BYTES - offsetBytes;
  if (middle >= target.byteLength) {
    target.fill(0);
    return target.byteLength;
  }
  let lost = 0;
  for (const [from, to] of [
    [0, middle],
    [middle, target.byteLength],
  ] as const) {
    const part = target.subarray(from, to);
    try {
      await objects.getRange(key, part, offsetBytes + from);
    } catch (error) {
      if (!hasCode(error, 'OBJECT_IO')) throw error;
      lost += await readHalves(objects, key, part, offsetBytes + from);
    }
  }
  return lost;
}

/** A whole object, as `readAround` gives it. */
export async function getAround(
  objects: ObjectStore,
  key: string,
  bytesMax: number,
): Promise<Uint8Array> {
  try {
    return await objects.get(key, bytesMax);
  } catch (error) {
    if (!hasCode(error, 'OBJECT_IO')) throw error;
    const bytes = new Uint8Array(Math.min(bytesMax, await objects.size(key)));
    await readAround(objects, key, bytes, 0);
    return bytes;
  }
}
