/** Writes what is whole of a damaged pack into new packs, frame by frame as they are. */
import {
  defaultCompression,
  FRAME_RAW_MAX,
  FRAME_RAW_TARGET,
  FRAME_RECORDS_MAX,
  FRAME_SEAL_BYTES,
  FRAME_STORED_MAX,
  plainRecord,
  plainSection,
  runJob,
} from '../codec/index.ts';
import { FerryError, type Random, toHex } from '../core/index.ts';
import type { ObjectStore } from '../objects/index.ts';
import { PACK_RECORDS_TARGET, PACK_TARGET_BYTES } from './limits.ts';
import { readFrame } from './pack-file.ts';
import { type PackTable, RECORD_CHUNK, RECORD_TREE } from './pack-table.ts';
import { PackWriter } from './pack-writer.ts';
import type { SealedObjects } from './sealer.ts';
import { type TreeRecord, treeSignatures } from './tree-record.ts';

/** A chunk that waits for its frame to be full. */
type PlainChunk = {
  readonly at: number;
  readonly lengthBytes: number;
  readonly id: Uint8Array;
  readonly checksum: number;
};

/** Called before a pack becomes visible. */
export type AnnouncePack = (packId: string) => Promise<void>;

/** Packs that are written from frames and records as they come; each sealed when it is full. */
export class PackSink implements AsyncDisposable {
  readonly #objects: SealedObjects;
  readonly #random: Random;
  readonly #announcePack: AnnouncePack;
  #pack: PackWriter | undefined;
  /** Numbers of the open pack's records, by their ids. */
  #ordinals = new Map<string, number>();
  #plain: PlainChunk[] = [];
  #plainBytes = 0;
  #input: SharedArrayBuffer | undefined;
  #output: SharedArrayBuffer | undefined;
  /** Sealed: durable, and named by nobody yet. */
  readonly sealed: { readonly id: string; readonly table: PackTable }[] = [];

  constructor(objects: SealedObjects, random: Random, announcePack: AnnouncePack) {
    this.#objects = objects;
    this.#random = random;
    this.#announcePack = announcePack;
  }

  /** Whether stored frames mean the same in every pack: those that are sealed belong to theirs. */
  get takesFrames(): boolean {
    return this.#objects.sealer.mode === 'plain';
  }

  #open(): PackWriter {
    this.#pack ??= new PackWriter(this.#objects, this.#random);
    return this.#pack;
  }

  #announce(kind: number, id: Uint8Array, checksum: number, rawBytes: number): number {
    const ordinal = this.#open().table.add(kind, id, checksum, rawBytes);
    this.#ordinals.set(toHex(id), ordinal);
    return ordinal;
  }

  /** A frame of chunks as it is stored elsewhere; records `first` to `end` of that table. */
  async frame(bytes: Uint8Array, table: PackTable, first: number, end: number): Promise<void> {
    await this.#flush();
    const pack = this.#open();
    const firstRecord = pack.table.count;
    for (let at = first; at < end; at++) {
      const { kinds, checksums, rawBytes, depths, touched } = table;
      const ordinal = this.#announce(kinds[at]!, table.id(at), checksums[at]!, rawBytes[at]!);
      pack.table.depths[ordinal] = depths[at]!;
      pack.table.touched[ordinal] = touched[at]!;
    }
    await pack.appendFrame(bytes, { firstRecord, number: pack.numberFrame() });
    await this.#sealIfFull();
  }

  /** A chunk that was decoded and verified; copied. */
  async chunk(bytes: Uint8Array, id: Uint8Array, checksum: number): Promise<void> {
    const { byteLength: lengthBytes } = bytes;
    const isFull = this.#plainBytes >= FRAME_RAW_TARGET || this.#plain.length >= FRAME_RECORDS_MAX;
    if (isFull || this.#plainBytes + lengthBytes > FRAME_RAW_MAX) await this.#flush();
    this.#input ??= new SharedArrayBuffer(FRAME_RAW_MAX);
    const at = this.#plainBytes;
    new Uint8Array(this.#input, at, lengthBytes).set(bytes);
    this.#plain.push({ at, lengthBytes, id: id.slice(), checksum });
    this.#plainBytes += lengthBytes;
  }

  /** Spelled anew, as its form depends on the pack that it lies in. */
  async tree(record: TreeRecord): Promise<void> {
    await this.#flush();
    const { id, checksum } = treeSignatures(record, this.#objects.sealer.treeSigning);
    const pack = this.#open();
    const number = pack.numberFrame();
    const ordinalOf = (value: Uint8Array) => this.#ordinals.get(toHex(value));
    const { seal } = pack.table;
    const stored = seal.encodeTree(record, ordinalOf, defaultCompression, number);
    const firstRecord = this.#announce(RECORD_TREE, id, checksum, stored.rawBytes);
    await pack.appendFrame(stored.bytes, { firstRecord, number, hash: stored.hash });
    await this.#sealIfFull();
  }

  async #flush(): Promise<void> {
    if (this.#plain.length === 0) return;
    const plain = this.#plain;
    this.#plain = [];
    this.#plainBytes = 0;
    const pack = this.#open();
    const firstRecord = pack.table.count;
    for (const { id, checksum, lengthBytes } of plain) {
      this.#announce(RECORD_CHUNK, id, checksum, lengthBytes);
    }
    const output = this.#output ?? new SharedArrayBuffer(FRAME_STORED_MAX + FRAME_SEAL_BYTES);
    this.#output = output;
    const number = pack.numberFrame();
    const { storedBytes, storedHash } = runJob<'encode'>({
      kind: 'encode',
      records: plain.map(({ at, lengthBytes }) => ({
        data: { memory: this.#input!, at, lengthBytes },
        rawBytes: lengthBytes,
        skipBytes: 0,
        choices: [],
      })),
      plan: { frames: [], steps: [], ids: new Uint8Array(0), checksums: new Uint32Array(0) },
      compression: defaultCompression,
      target: { memory: output, at: 0, lengthBytes: output.byteLength },
      place: pack.table.seal.place(number),
    });
    const bytes = new Uint8Array(output, 0, storedBytes);
    await pack.appendFrame(bytes, { firstRecord, number, hash: storedHash });
    await this.#sealIfFull();
  }

  async #sealIfFull(): Promise<void> {
    const { storedBytes, table } = this.#open();
    if (storedBytes >= PACK_TARGET_BYTES || table.count >= PACK_RECORDS_TARGET) await this.#seal();
  }

  async #seal(): Promise<void> {
    const pack = this.#pack;
    if (pack === undefined || pack.table.count === 0) return;
    await this.#announcePack(pack.id);
    await pack.seal();
    this.sealed.push({ id: pack.id, table: pack.table });
    this.#pack = undefined;
    this.#ordinals = new Map();
  }

  async finish(): Promise<void> {
    await this.#flush();
    await this.#seal();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pack?.[Symbol.asyncDispose]();
  }
}

export type Salvaged = { readonly keptFrames: number; readonly lostRecords: number };

export type Salvaging = {
  readonly packId: string;
  readonly table: PackTable;
  /** Frames that did not decode. */
  readonly bad: ReadonlySet<number>;
  /** Called for the records of frames that are damaged, or bad; answers how many were kept. */
  single(ordinals: readonly number[]): Promise<number>;
};

/** Every frame but `bad` ones and those that turn out to be damaged goes into the sink. */
export async function salvagePack(
  objects: ObjectStore,
  { packId, table, bad, single }: Salvaging,
  sink: PackSink | undefined,
): Promise<Salvaged> {
  let keptFrames = 0;
  let lostRecords = 0;
  for (let number = 0; number < table.frameFirst.length; number++) {
    const bytes = new Uint8Array(table.frameBytes[number]!);
    const content = await wholeFrame(objects, { packId, table, number }, bytes);
    const first = table.frameFirst[number]!;
    const end = table.frameFirst[number + 1] ?? table.count;
    const isGood = content !== undefined && !bad.has(number);
    if (isGood) keptFrames++;
    // A sealed frame belongs to its pack: its chunks move one by one.
    const moves = isGood && (content.tree !== undefined || sink?.takesFrames !== false);
    if (!moves) {
      const ordinals = Array.from({ length: end - first }, (_, at) => first + at);
      lostRecords += ordinals.length - (await single(ordinals));
      continue;
    }
    if (content.tree !== undefined) await sink?.tree(content.tree);
    else await sink?.frame(bytes, table, first, end);
  }
  return { keptFrames, lostRecords };
}

/** Whether the frame's bytes are as they were written, whatever became of its patches' parents. */
export async function isWholeFrame(
  objects: ObjectStore,
  packId: string,
  table: PackTable,
  number: number,
): Promise<boolean> {
  const bytes = new Uint8Array(table.frameBytes[number]!);
  return (await wholeFrame(objects, { packId, table, number }, bytes)) !== undefined;
}

type Content = { readonly tree: TreeRecord | undefined };

/** Undefined unless frame and plain records are what the table says. */
async function wholeFrame(
  objects: ObjectStore,
  { packId, table, number }: { packId: string; table: PackTable; number: number },
  bytes: Uint8Array,
): Promise<Content | undefined> {
  const first = table.frameFirst[number]!;
  const end = table.frameFirst[number + 1] ?? table.count;
  const { seal } = table;
  try {
    await readFrame(objects, packId, bytes, table.frameOffset[number]!);
    if (table.kinds[first] === RECORD_TREE) {
      const tree = seal.decodeTree(bytes, number, table);
      const whole = seal.isGenuineTree(tree, table.id(first), table.checksums[first]!);
      return whole ? { tree } : undefined;
    }
    const frame = seal.parseFrame(bytes, number);
    if (frame.records.length !== end - first) return undefined;
    const section = plainSection(frame);
    for (const [at, record] of frame.records.entries()) {
      if (record.parents.length > 0) continue;
      const plain = plainRecord(section, record);
      if (!seal.signer.matches(plain, table.id(first + at), table.checksums[first + at]!)) {
        return undefined;
      }
    }
    return { tree: undefined };
  } catch (error) {
    const known =
      error instanceof FerryError && /^(CODEC_|STORE_|FORMAT_|OBJECT_IO$)/.test(error.code);
    if (known && error.code !== 'STORE_NO_PASSWORD') return undefined;
    throw error;
  }
}
