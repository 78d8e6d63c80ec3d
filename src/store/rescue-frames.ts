/** Rescues what is whole of a pack whose table is lost: frames tell what they hold. */
import {
  CodecError,
  decodePatch,
  type Frame,
  type FrameRecord,
  plainRecord,
  plainSection,
} from '../codec/index.ts';
import { FerryError, FormatError, hasCode, toHex } from '../core/index.ts';
import type { ChunkIndex } from './chunk-index.ts';
import { ChunkReader } from './chunk-reader.ts';
import { damagedObject, StoreError } from './errors.ts';
import { type ReadRoom, readRoom, takeRoom } from './frame-plan.ts';
import { PACK_BYTES_MAX } from './limits.ts';
import { packKey } from './pack-file.ts';
import { PACK_HEADER_BYTES, PackTable, RECORD_CHUNK, RECORD_TREE } from './pack-table.ts';
import { getAround } from './read-around.ts';
import type { PackSink } from './salvage.ts';
import type { SealedObjects } from './sealer.ts';
import { ParsedTree, type TreeRecord, treeSignatures } from './tree-record.ts';

/** Behind damage nobody knows which number a sealed frame has: so many are tried. */
const NUMBERS_TRIED = 32;

const FRAME_HEAD_BYTES = 12;

/** How many records went into the sink, or would have. */
export async function rescueFrames(
  objects: SealedObjects,
  index: ChunkIndex,
  packId: string,
  sink: PackSink | undefined,
): Promise<number> {
  try {
    const bytes = await getAround(objects, packKey(packId), PACK_BYTES_MAX);
    return await new Rescue(objects, index, packId, sink).all(bytes);
  } catch (error) {
    if (hasCode(error, 'OBJECT_NOT_FOUND') || hasCode(error, 'OBJECT_RANGE')) return 0;
    throw error;
  }
}

type Found = { readonly number: number } & (
  | { readonly frame: Frame; readonly tree?: never }
  | { readonly tree: TreeRecord; readonly frame?: never }
);

/**
 * Ids are computed from what decodes. Where that is not what was stored, as a tree record that
 * counts records which are lost, nobody asks for its id: it is garbage, never wrong content.
 */
class Rescue {
  readonly #index: ChunkIndex;
  readonly #packId: string;
  readonly #sink: PackSink | undefined;
  readonly #chunks: ChunkReader;
  readonly #sealer: SealedObjects['sealer'];
  /** As it was, as far as frames without a gap tell. */
  readonly #table: PackTable;
  /** Chunks of this pack, by how patches refer to them. */
  readonly #own = new Map<string, (room: ReadRoom) => Promise<Uint8Array>>();
  #kept = 0;

  constructor(
    objects: SealedObjects,
    index: ChunkIndex,
    packId: string,
    sink: PackSink | undefined,
  ) {
    this.#index = index;
    this.#packId = packId;
    this.#sink = sink;
    this.#chunks = new ChunkReader(objects, index);
    this.#sealer = objects.sealer;
    this.#table = new PackTable(objects.sealer.pack(packId));
  }

  async all(bytes: Uint8Array): Promise<number> {
    if (this.#sealer.mode === 'blind') return 0;
    for (const { frame, tree } of this.#frames(bytes)) {
      if (tree !== undefined) await this.#keepTree(tree);
      else for (const record of frame.records) await this.#keepChunk(frame, record);
    }
    return this.#kept;
  }

  *#frames(bytes: Uint8Array): Generator<Found> {
    const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const isPlain = this.#sealer.mode === 'plain';
    const magic = isPlain ? 'FRAM' : 'FRSL';
    let number = 0;
    let at = buffer.indexOf(magic, PACK_HEADER_BYTES);
    while (at >= 0 && at + FRAME_HEAD_BYTES <= bytes.byteLength) {
      const lengthBytes = buffer.readUInt32LE(at + (isPlain ? 8 : 4));
      const end = at + lengthBytes;
      const found = end <= bytes.byteLength && this.#open(bytes.subarray(at, end), number);
      if (found) {
        number = found.number + 1;
        yield found;
      }
      at = buffer.indexOf(magic, found ? end : at + 1);
    }
  }

  #open(stored: Uint8Array, from: number): Found | undefined {
    const tries = this.#sealer.mode === 'plain' ? 1 : NUMBERS_TRIED;
    const { seal } = this.#table;
    for (let number = from; number < from + tries; number++) {
      // A tree record parses as a chunk, too; hardly any chunk parses as a tree record.
      const tree = ifWhole(() => this.#parseTree(stored, number));
      if (tree !== undefined) return { number, tree };
      const frame = ifWhole(() => seal.parseFrame(stored, number));
      if (frame !== undefined) return { number, frame };
    }
    return undefined;
  }

  #parseTree(stored: Uint8Array, number: number): TreeRecord {
    const record = this.#table.seal.decodeTree(stored, number, this.#table);
    new ParsedTree('', record);
    return record;
  }

  async #keepTree(record: TreeRecord): Promise<void> {
    const { id, checksum } = treeSignatures(record, this.#sealer.treeSigning);
    this.#table.add(RECORD_TREE, id, checksum, 0);
    this.#kept++;
    await this.#sink?.tree(record);
  }

  async #keepChunk(frame: Frame, record: FrameRecord): Promise<void> {
    const decode = (room: ReadRoom) => this.#decode(frame, record, room);
    let bytes: Uint8Array;
    try {
      bytes = await decode(readRoom());
    } catch (error) {
      if (!isDamage(error)) throw error;
      this.#table.add(RECORD_CHUNK, new Uint8Array(32), 0, record.rawBytes);
      return;
    }
    const { id, checksum } = this.#table.seal.signer.sign(bytes);
    this.#table.add(RECORD_CHUNK, id, checksum, record.rawBytes);
    this.#own.set(referenceTo(id, checksum), decode);
    this.#kept++;
    await this.#sink?.chunk(bytes, id, checksum);
  }

  async #decode(frame: Frame, record: FrameRecord, room: ReadRoom): Promise<Uint8Array> {
    takeRoom(room, record.rawBytes, this.#packId);
    if (record.parents.length === 0) return plainRecord(plainSection(frame), record);
    const parents: Uint8Array[] = [];
    for (const reference of record.parents) parents.push(await this.#parent(reference, room));
    const patch = frame.bytes.subarray(record.at, record.at + record.storedBytes);
    return decodePatch(patch, parents, record.rawBytes);
  }

  async #parent(reference: Uint8Array, room: ReadRoom): Promise<Uint8Array> {
    const own = this.#own.get(toHex(reference));
    if (own !== undefined) return own(room);
    const [found] = await this.#index.findReference(reference, Number.POSITIVE_INFINITY);
    if (found !== undefined) return this.#chunks.bytes(found);
    throw damagedObject(packKey(this.#packId), 'the parent of a patch is not there');
  }
}

function referenceTo(id: Uint8Array, checksum: number): string {
  const reference = Buffer.alloc(12);
  reference.writeUInt32LE(checksum);
  reference.set(id.subarray(0, 8), 4);
  return toHex(reference);
}

function isDamage(error: unknown): boolean {
  const known = error instanceof CodecError || error instanceof FormatError;
  return known || error instanceof StoreError || hasCode(error, 'OBJECT_IO');
}

function ifWhole<T>(parse: () => T): T | undefined {
  try {
    return parse();
  } catch (error) {
    if (error instanceof FerryError && isDamage(error)) return undefined;
    throw error;
  }
}
