/** Makes parity for packs, and tells which have some. */
import { CodecError, type CodecPool, runJob } from '../codec/index.ts';
import { crc32, equalBytes, FormatError, hasCode, sha256 } from '../core/index.ts';
import type { ObjectStore } from '../objects/index.ts';
import { damagedObject, StoreError } from './errors.ts';
import { PACK_BYTES_MAX, PARITY_PERCENT_MAX } from './limits.ts';
import { NO_INDEX_CHANGE } from './log-entry.ts';
import { packKey, parsePack } from './pack-file.ts';
import {
  encodeParity,
  type ParityFile,
  type ParityShape,
  parityAt,
  parityKey,
  parityShape,
  rowsBytes,
  stripesOf,
} from './parity-file.ts';
import { putUnlessThere } from './quarantine.ts';
import { namedPacks } from './rebuild-index.ts';
import type { Repository } from './repository.ts';
import type { SealedObjects } from './sealer.ts';
import { isWhole } from './whole.ts';

/**
 * From now on packs get so many parity stripes for a hundred of theirs, 0 for none; those that are
 * there get theirs by `protectRepository`. STORE_LIMIT.
 */
export async function setParity(repository: Repository, percent: number): Promise<void> {
  if (!Number.isInteger(percent) || percent < 0 || percent > PARITY_PERCENT_MAX) {
    throw new StoreError('STORE_LIMIT', `parity of ${percent} % is not possible`, {
      hint: `Choose a whole number from 1 to ${PARITY_PERCENT_MAX}, or 0 for none.`,
    });
  }
  await repository.commitIndex(() => NO_INDEX_CHANGE, { parity: percent });
}

/** Makes the parity that packs lack, if the repository is to have some. */
export async function protectRepository(
  repository: Repository,
  options: Omit<ProtectOptions, 'percent'>,
): Promise<Protection> {
  const percent = repository.log.state.parityPercent;
  const { objects } = repository;
  const { packs } = percent === 0 ? { packs: [] } : await namedPacks(repository);
  const wanted = options.renews ? packs : await unprotectedPacks(objects, packs);
  return protectPacks(objects, wanted, { ...options, percent });
}

/** Removes all parity; before that, none is wanted any more. */
export async function dropParity(objects: ObjectStore, signal?: AbortSignal): Promise<void> {
  for await (const packId of protectedPacks(objects)) {
    signal?.throwIfAborted();
    await objects.remove(parityKey(packId));
  }
}

export type ProtectOptions = {
  /** How many parity stripes for a hundred. */
  readonly percent: number;
  /** Parity that is there already is made anew; that of a damaged pack stays as it is. */
  readonly renews?: boolean;
  /** Without one the work is done in place. */
  readonly pool?: CodecPool | undefined;
  readonly onProgress?: ((done: { readonly bytes: number }) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
};

export type Protection = {
  /** Packs that parity was made for, and the bytes of it. */
  readonly made: number;
  readonly madeBytes: number;
  /** Packs that are not as they were written: parity would only keep the damage. */
  readonly damaged: readonly string[];
};

/**
 * Makes parity for those of the packs that have none, or for all. Each is read again and verified
 * first, so that parity is of what was meant.
 */
export async function protectPacks(
  objects: SealedObjects,
  packs: Iterable<string>,
  { percent, renews = false, pool, onProgress, signal }: ProtectOptions,
): Promise<Protection> {
  let memory = new SharedArrayBuffer(0);
  const done = { made: 0, madeBytes: 0 };
  let readBytes = 0;
  const damaged: string[] = [];
  /** The last one is made durable while the next one is computed. */
  let putting: Promise<void> = Promise.resolve();
  const put = async (key: string, bytes: Uint8Array) => {
    if (renews) await objects.remove(key);
    await putUnlessThere(objects, key, bytes);
    done.made++;
    done.madeBytes += bytes.byteLength;
  };
  const computed = async (packId: string) => {
    const shape = parityShape(await packSize(objects, packId), percent);
    const needed = rowsBytes(shape);
    if (memory.byteLength < needed) memory = new SharedArrayBuffer(needed);
    const rows = new Uint8Array(memory, 0, needed).fill(0, shape.packBytes);
    await readWhole(objects, packId, rows.subarray(0, shape.packBytes));
    const job = { kind: 'parity', ...counts(shape), data: range(memory, needed) } as const;
    await (pool === undefined ? runJob<'parity'>(job) : pool.run<'parity'>(job));
    readBytes += shape.packBytes;
    return encodeParity(fileOf(packId, shape, rows));
  };
  for (const packId of packs) {
    signal?.throwIfAborted();
    const key = parityKey(packId);
    if (!renews && (await isThere(objects, key))) continue;
    const bytes = await computed(packId).catch((error) => {
      if (!isDamage(error)) throw error;
      damaged.push(packId);
      return undefined;
    });
    if (bytes === undefined) continue;
    await putting;
    putting = put(key, bytes);
    putting.catch(() => undefined); // Seen when it is waited for.
    onProgress?.({ bytes: readBytes });
  }
  await putting;
  return { ...done, damaged };
}

const counts = ({ dataRows, parityRows }: ParityShape) => ({
  rows: dataRows + parityRows,
  parity: parityRows,
});

const range = (memory: SharedArrayBuffer, lengthBytes: number) => ({ memory, at: 0, lengthBytes });

/** What a damaged, missing or unreadable pack comes to; others are failures of the store. */
function isDamage(error: unknown): boolean {
  return error instanceof StoreError || hasCode(error, 'OBJECT_IO');
}

async function isThere(objects: ObjectStore, key: string): Promise<boolean> {
  try {
    await objects.size(key);
    return true;
  } catch (error) {
    if (hasCode(error, 'OBJECT_NOT_FOUND')) return false;
    throw error;
  }
}

async function packSize(objects: ObjectStore, packId: string): Promise<number> {
  const key = packKey(packId);
  try {
    const bytes = await objects.size(key);
    if (bytes > 0 && bytes <= PACK_BYTES_MAX) return bytes;
    throw damagedObject(key, `it is ${bytes} bytes long`);
  } catch (error) {
    if (hasCode(error, 'OBJECT_NOT_FOUND')) throw damagedObject(key, 'it is missing', error);
    throw error;
  }
}

/** Reads a pack in pieces; STORE_DAMAGED unless all of it is as it was written. */
async function readWhole(objects: SealedObjects, packId: string, target: Uint8Array) {
  const key = packKey(packId);
  for (let at = 0; at < target.byteLength; at += READ_BYTES) {
    await objects.getRange(key, target.subarray(at, at + READ_BYTES), at);
  }
  if (!isWholePack(objects, packId, target)) throw damagedObject(key, 'a frame is not whole');
}

const READ_BYTES = 4 * 1024 * 1024;

function isWholePack({ sealer }: SealedObjects, packId: string, bytes: Uint8Array): boolean {
  const key = packKey(packId);
  try {
    const table = parsePack(bytes, packId, sealer.pack(packId));
    return table.frameOffset.every((offset, frame) => {
      const stored = bytes.subarray(offset, offset + table.frameBytes[frame]!);
      const hash = table.frameHash[frame];
      return hash === undefined ? isWhole(key, stored) === true : equalBytes(sha256(stored), hash);
    });
  } catch (error) {
    if (error instanceof FormatError || error instanceof CodecError) return false;
    throw error;
  }
}

function fileOf(packId: string, shape: ParityShape, rows: Uint8Array): ParityFile {
  const stripes = [...stripesOf(shape)];
  return {
    packId,
    packHash: sha256(rows.subarray(0, shape.packBytes)),
    shape,
    sums: Uint32Array.from(stripes, ({ at, lengthBytes }) =>
      crc32(rows.subarray(at, at + lengthBytes)),
    ),
    parity: rows.subarray(parityAt(shape)),
  };
}

/** Those of `packs` that have no parity, by a listing. */
export async function unprotectedPacks(
  objects: ObjectStore,
  packs: Iterable<string>,
): Promise<string[]> {
  const there = new Set<string>();
  for await (const packId of protectedPacks(objects)) there.add(packId);
  return [...packs].filter((pack) => !there.has(pack));
}

/** Packs that parity objects are there for, whatever became of the packs. */
export async function* protectedPacks(objects: ObjectStore): AsyncGenerator<string> {
  for await (const { key } of objects.list('parity/')) {
    const packId = key.slice(key.lastIndexOf('/') + 1);
    if (key === parityKey(packId)) yield packId;
  }
}
