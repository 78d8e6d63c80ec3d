/** Fetches tree records from packs and verifies them. */
import { CodecError } from '../codec/index.ts';
import { FormatError, fromHex } from '../core/index.ts';
import type { ObjectStore } from '../objects/index.ts';
import type { ChunkIndex, Location } from './chunk-index.ts';
import { damagedObject } from './errors.ts';
import { healing } from './healing.ts';
import { packKey, readFrame } from './pack-file.ts';
import { RECORD_TREE } from './pack-table.ts';
import { ParsedTree, type TreeRecord } from './tree-record.ts';

/** STORE_MISSING if no pack holds the record, STORE_DAMAGED if its bytes are not what they were. */
export async function loadTree(
  objects: ObjectStore,
  index: ChunkIndex,
  id: string,
): Promise<ParsedTree> {
  const location = await index.find(fromHex(id, 32)!, undefined, RECORD_TREE);
  if (location === undefined) throw index.absent(`tree record ${id.slice(0, 16)}`);
  return readTree(objects, location, id);
}

export async function readTree(
  objects: ObjectStore,
  location: Location,
  id: string,
): Promise<ParsedTree> {
  const record = await fetchTree(objects, location, id);
  return decoding(location, () => new ParsedTree(id, record));
}

/** The record as it is, verified but not taken apart. */
export async function fetchTree(
  objects: ObjectStore,
  location: Location,
  id: string,
): Promise<TreeRecord> {
  return healing(objects, packKey(location.packId), () => fetch(objects, location, id));
}

async function fetch(objects: ObjectStore, location: Location, id: string): Promise<TreeRecord> {
  const { packId, table, ordinal } = location;
  const frameNumber = table.frameOf(ordinal);
  const bytes = new Uint8Array(table.frameBytes[frameNumber]!);
  await readFrame(objects, packId, bytes, table.frameOffset[frameNumber]!);
  return decoding(location, () => {
    if (ordinal !== table.frameFirst[frameNumber]) {
      throw new FormatError('a tree record shares its frame');
    }
    const record = table.seal.decodeTree(bytes, frameNumber, table);
    if (!table.seal.isGenuineTree(record, fromHex(id, 32)!, table.checksums[ordinal]!)) {
      throw new FormatError('a tree record does not have the bytes of its hash');
    }
    return record;
  });
}

function decoding<T>({ packId }: Location, decode: () => T): T {
  try {
    return decode();
  } catch (error) {
    if (error instanceof FormatError || error instanceof CodecError) {
      throw damagedObject(packKey(packId), error.message, error);
    }
    throw error;
  }
}
