/** Reads single chunks at once where it can: decoded frames and patches are kept, each verified. */
import { CodecError, decodePatch, type Frame, plainRecord, plainSection } from '../codec/index.ts';
import { toHex } from '../core/index.ts';
import type { ObjectStore } from '../objects/index.ts';
import { ByteCache } from './byte-cache.ts';
import type { ChunkIndex, Location } from './chunk-index.ts';
import { damagedObject } from './errors.ts';
import { findParent, type ReadRoom, readRoom, takeRoom } from './frame-plan.ts';
import { healing } from './healing.ts';
import { FRAME_CACHE_BYTES } from './limits.ts';
import { packKey, readFrame } from './pack-file.ts';
import type { PackTable } from './pack-table.ts';

type OpenFrame = {
  readonly frame: Frame;
  section: Uint8Array | undefined;
  /** Per record: its plain bytes have been compared with their hash. */
  readonly verified: Uint8Array;
};

export class ChunkReader {
  readonly #objects: ObjectStore;
  readonly #index: ChunkIndex;
  readonly #frames: ByteCache<string, OpenFrame>;
  readonly #patches: ByteCache<string, Uint8Array>;
  readonly #loading = new Map<string, Promise<OpenFrame>>();
  readonly #patching = new Map<string, Promise<Uint8Array>>();

  constructor(objects: ObjectStore, index: ChunkIndex, keptBytesMax = FRAME_CACHE_BYTES) {
    this.#objects = objects;
    this.#index = index;
    this.#frames = new ByteCache(keptBytesMax);
    this.#patches = new ByteCache(keptBytesMax / 4);
  }

  /** The chunk's plain bytes, verified; shared, not to be changed. STORE_MISSING, STORE_DAMAGED. */
  chunk(id: Uint8Array): Uint8Array | Promise<Uint8Array> {
    const location = this.#index.find(id);
    if (location instanceof Promise) return location.then((found) => this.#at(found, id));
    return this.#at(location, id);
  }

  /** Begins to fetch the frame of the chunk, so that it is there when the chunk is asked for. */
  fetch(id: Uint8Array): void {
    const begin = async (): Promise<void> => {
      const location = await this.#index.find(id);
      if (location === undefined) return;
      const frameNumber = location.table.frameOf(location.ordinal);
      if (this.#frames.has(`${location.pack}/${frameNumber}`)) return;
      await this.#load(location, frameNumber);
    };
    begin().catch(() => undefined); // Told to whoever asks for the chunk itself.
  }

  #at(location: Location | undefined, id: Uint8Array): Uint8Array | Promise<Uint8Array> {
    if (location !== undefined) return this.bytes(location);
    throw this.#index.absent(`chunk ${toHex(id).slice(0, 16)}`);
  }

  /** The plain bytes of the copy at `location`. */
  bytes(location: Location): Uint8Array | Promise<Uint8Array> {
    return this.#bytes(location, readRoom());
  }

  /** What was decoded before may be kept no more: patches of patches could take for ever. */
  #bytes(location: Location, room: ReadRoom): Uint8Array | Promise<Uint8Array> {
    const { table, ordinal, pack, packId } = location;
    takeRoom(room, table.rawBytes[ordinal]!, packId);
    if (table.depths[ordinal] !== 0) {
      const name = `${pack}:${ordinal}`;
      const known = this.#patches.get(name) ?? this.#patching.get(name);
      return known ?? this.#patch(name, location, room);
    }
    const frameNumber = table.frameOf(ordinal);
    const open = this.#frames.get(`${pack}/${frameNumber}`);
    if (open !== undefined) return this.#plain(location, open, frameNumber);
    return this.#load(location, frameNumber).then((frame) =>
      this.#plain(location, frame, frameNumber),
    );
  }

  #plain(location: Location, open: OpenFrame, frameNumber: number): Uint8Array {
    const { table, ordinal, packId } = location;
    const number = ordinal - table.frameFirst[frameNumber]!;
    const record = open.frame.records[number];
    if (record === undefined || record.parents.length > 0) {
      throw damagedObject(packKey(packId), 'a frame does not hold what the table says');
    }
    open.section ??= named(packId, () => plainSection(open.frame));
    const bytes = plainRecord(open.section, record);
    if (open.verified[number] === 0) {
      verify(bytes, location);
      open.verified[number] = 1;
    }
    return bytes;
  }

  /** Several readers of one patch share the work; a failure is not remembered. */
  #patch(name: string, location: Location, room: ReadRoom): Promise<Uint8Array> {
    const patching = this.#patched(location, room).finally(() => this.#patching.delete(name));
    this.#patching.set(name, patching);
    return patching;
  }

  async #patched(location: Location, room: ReadRoom): Promise<Uint8Array> {
    const { table, ordinal, pack, packId } = location;
    const frameNumber = table.frameOf(ordinal);
    const { frame } = await this.#load(location, frameNumber);
    const record = frame.records[ordinal - table.frameFirst[frameNumber]!];
    if (record === undefined || record.parents.length === 0) {
      throw damagedObject(packKey(packId), 'a frame does not hold what the table says');
    }
    const parents: Uint8Array[] = [];
    for (const reference of record.parents) {
      const parent = await findParent(this.#index, location, reference, table.depths[ordinal]!);
      parents.push(await this.#bytes(parent, room));
    }
    const patch = frame.bytes.subarray(record.at, record.at + record.storedBytes);
    const bytes = named(packId, () => decodePatch(patch, parents, record.rawBytes));
    verify(bytes, location);
    this.#patches.set(`${pack}:${ordinal}`, bytes, bytes.byteLength);
    return bytes;
  }

  /** Several readers of one frame share one read; a failure is not remembered. */
  async #load({ pack, packId, table }: Location, frameNumber: number): Promise<OpenFrame> {
    const name = `${pack}/${frameNumber}`;
    const known = this.#frames.get(name);
    if (known !== undefined) return known;
    let loading = this.#loading.get(name);
    if (loading === undefined) {
      const read = () => this.#read(packId, table, frameNumber);
      loading = healing(this.#objects, packKey(packId), read);
      this.#loading.set(name, loading);
      loading.then(
        (open) => {
          const { plainRawBytes, bytes } = open.frame;
          this.#frames.set(name, open, plainRawBytes + bytes.byteLength);
          this.#loading.delete(name);
        },
        () => this.#loading.delete(name),
      );
    }
    return loading;
  }

  async #read(packId: string, table: PackTable, frameNumber: number): Promise<OpenFrame> {
    const bytes = new Uint8Array(table.frameBytes[frameNumber]!);
    await readFrame(this.#objects, packId, bytes, table.frameOffset[frameNumber]!);
    const frame = named(packId, () => table.seal.parseFrame(bytes, frameNumber));
    return { frame, section: undefined, verified: new Uint8Array(frame.records.length) };
  }
}

/** Runs a decoder; what it finds wrong is told with the pack's name. */
export function named<T>(packId: string, decode: () => T): T {
  try {
    return decode();
  } catch (error) {
    if (error instanceof CodecError) throw damagedObject(packKey(packId), error.message, error);
    throw error;
  }
}

function verify(bytes: Uint8Array, { table, ordinal, packId }: Location): void {
  if (table.seal.signer.matches(bytes, table.id(ordinal), table.checksums[ordinal]!)) return;
  const name = toHex(table.id(ordinal)).slice(0, 16);
  throw damagedObject(packKey(packId), `chunk ${name} does not have the bytes of its hash`);
}
