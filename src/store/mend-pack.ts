/** Computes what was damaged in a pack from its parity. */
import { fillRows } from '../codec/index.ts';
import { crc32, equalBytes, hasCode, sha256 } from '../core/index.ts';
import type { ObjectStore } from '../objects/index.ts';
import { damagedObject } from './errors.ts';
import { PACK_BYTES_MAX, STRIPE_BYTES } from './limits.ts';
import { packKey } from './pack-file.ts';
import { type ParityShape, parityAt, readParity, rowsBytes, stripesOf } from './parity-file.ts';
import { setAsideKeys } from './quarantine.ts';
import { readAround } from './read-around.ts';

export type MendedPack = {
  /** The whole pack, byte for byte as it was written. */
  readonly bytes: Uint8Array;
  /** Where in it stripes were put right. */
  readonly mended: readonly { readonly at: number; readonly lengthBytes: number }[];
};

/**
 * The pack as it was written. STORE_MISSING without parity; STORE_DAMAGED if more is damaged than
 * parity makes up for: nothing is guessed.
 */
export async function mendPack(objects: ObjectStore, packId: string): Promise<MendedPack> {
  const file = await readParity(objects, packId);
  const { shape, sums } = file;
  const rows = new Uint8Array(rowsBytes(shape));
  rows.set(file.parity, parityAt(shape));
  const stripes = [...stripesOf(shape)];
  const bad = new Set(stripes.keys());
  const review = () => {
    for (const stripe of bad) {
      const { at, lengthBytes } = stripes[stripe]!;
      if (crc32(rows.subarray(at, at + lengthBytes)) === sums[stripe]) bad.delete(stripe);
    }
  };
  await fillFrom(objects, packKey(packId), rows.subarray(0, shape.packBytes));
  review();
  const inPack = ({ at }: { at: number }) => at < shape.packBytes;
  const mended = [...bad].map((stripe) => stripes[stripe]!).filter(inPack);
  // A repair that was cut off may have set the pack aside and not yet put it right.
  if (mended.length > 0) await fillFromAside(objects, packId, { rows, stripes, bad, review });
  const offsets = [...bad].map((stripe) => stripes[stripe]!.at);
  const lost = fill(rows, shape, offsets);
  const bytes = rows.subarray(0, shape.packBytes);
  const key = packKey(packId);
  if (lost > 0) {
    throw damagedObject(key, `${mended.length} stripes, ${lost} more than its parity makes up for`);
  }
  if (!equalBytes(sha256(bytes), file.packHash)) {
    throw damagedObject(key, 'what its parity gives is not what was written');
  }
  return { bytes, mended };
}

/** As much as is there; what is not stays as it is. */
async function fillFrom(objects: ObjectStore, key: string, target: Uint8Array): Promise<void> {
  try {
    const sizeBytes = Math.min(target.byteLength, await objects.size(key));
    await readAround(objects, key, target.subarray(0, sizeBytes), 0);
  } catch (error) {
    if (!hasCode(error, 'OBJECT_NOT_FOUND')) throw error;
  }
}

type Filling = {
  readonly rows: Uint8Array;
  readonly stripes: readonly { readonly at: number; readonly lengthBytes: number }[];
  readonly bad: ReadonlySet<number>;
  /** Takes out of `bad` what is good now. */
  review(): void;
};

/** Bad stripes from copies that repairs have set aside. */
async function fillFromAside(objects: ObjectStore, packId: string, filling: Filling) {
  for await (const key of setAsideKeys(objects, packKey(packId))) {
    const sizeBytes = await objects.size(key);
    const copy = new Uint8Array(Math.min(sizeBytes, PACK_BYTES_MAX));
    await fillFrom(objects, key, copy);
    for (const stripe of filling.bad) {
      const { at, lengthBytes } = filling.stripes[stripe]!;
      if (at + lengthBytes <= copy.byteLength) {
        filling.rows.set(copy.subarray(at, at + lengthBytes), at);
      }
    }
    filling.review();
  }
}

/** Computes the stripes at `offsets`; answers how many cannot be. */
function fill(rows: Uint8Array, shape: ParityShape, offsets: readonly number[]): number {
  const { columns, parityRows } = shape;
  const absent = new Map<number, number[]>();
  for (const at of offsets) {
    const [row, column] = [Math.floor(at / STRIPE_BYTES / columns), (at / STRIPE_BYTES) % columns];
    const known = absent.get(column);
    if (known === undefined) absent.set(column, [row]);
    else known.push(row);
  }
  let lost = 0;
  for (const [column, own] of absent) {
    if (own.length > parityRows) lost += own.length - parityRows;
    else fillRows(columnOf(rows, shape, column), own, parityRows);
  }
  return lost;
}

function columnOf(rows: Uint8Array, shape: ParityShape, column: number): Int32Array[] {
  const { columns, dataRows, parityRows } = shape;
  return Array.from({ length: dataRows + parityRows }, (_, row) => {
    const at = rows.byteOffset + (row * columns + column) * STRIPE_BYTES;
    return new Int32Array(rows.buffer, at, STRIPE_BYTES / 4);
  });
}
