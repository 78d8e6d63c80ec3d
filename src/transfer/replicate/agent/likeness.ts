/** Likeness: which chunks of a volume resemble what is new, by samples of what was sent of them. */
import { basename, dirname } from 'node:path';
import {
  type CodecPool,
  runJob,
  SIMILAR_TABLE_BYTES,
  SimilarTable,
  samplesPerChunk,
  takeSamples,
} from '../../../codec/index.ts';
import {
  crc32,
  type Env,
  FerryError,
  readStateFile,
  replaceStateFile,
  type Turns,
} from '../../../core/index.ts';
import { LIKENESS_BYTES_MAX, OFFER_BYTES } from '../limits.ts';

/** `FLIK`, little-endian. */
const MAGIC = 0x4b494c46;
const HEAD_BYTES = 8;
const ENTRY_BYTES = 8;
/** Slots that are looked at between two turns: about 0.1 ms. */
const STEP_SLOTS = 2 ** 13;
/** What is learned is written down after so many samples: 256 MiB of content. */
const SAVE_FROM = 2 ** 18;

/** Of a volume, by their numbers from 0 on: 128 TiB. */
export const CHUNKS_MAX = 2 ** 31;

/** Where fewer of the pieces that were looked at became patches, looking costs more. */
const USE_SHARE_MIN = 1 / 64;
/** So many are looked at before that is believed; the past then counts half. */
const JUDGED_MIN = 512;
/** While it does not serve one window in so many is looked at: times change. */
const PROBE_WINDOWS = 16;

const FILE_BYTES_MAX = HEAD_BYTES + 2 * SIMILAR_TABLE_BYTES;

export type LikenessOptions = {
  /** Where it lies between two runs. */
  readonly path: string;
  readonly sizeBytes: number;
  /** Volumes that are kept present together share what one alone may have. */
  readonly volumes?: number;
};

/**
 * Nothing rests on it: a place that it names is read, and may hold anything by now. Samples lie in
 * two tables; when the younger one is full it takes the place of the older one.
 */
export class Likeness {
  readonly #env: Env;
  readonly #path: string;
  readonly #contentBytes: number;
  readonly #samples = new Uint32Array(samplesPerChunk(OFFER_BYTES));
  #young: SimilarTable;
  #old: SimilarTable | undefined;
  #unsaved = 0;
  #judged = 0;
  #useful = 0;
  #isOfUse = true;
  #skipped = 0;

  /** What an earlier run has left is taken up, if it is whole. */
  static async open(env: Env, options: LikenessOptions): Promise<Likeness> {
    const likeness = new Likeness(env, options);
    await removeUnfinished(env, options.path).catch(forgone);
    const bytes = await readStateFile(env, options.path, FILE_BYTES_MAX).catch(forgone);
    if (bytes !== undefined) likeness.#load(bytes);
    return likeness;
  }

  private constructor(env: Env, { path, sizeBytes, volumes = 1 }: LikenessOptions) {
    this.#env = env;
    this.#path = path;
    this.#contentBytes = Math.min(sizeBytes, LIKENESS_BYTES_MAX / volumes);
    this.#young = SimilarTable.for(this.#contentBytes);
  }

  /** For `match` jobs: what they find are numbers of chunks. */
  get tables(): readonly SharedArrayBuffer[] {
    const { memory } = this.#young;
    return this.#old === undefined ? [memory] : [memory, this.#old.memory];
  }

  /** Whether looking is worth it now: where it does not serve, only now and then. */
  isWorthLooking(): boolean {
    if (this.#isOfUse) return true;
    this.#skipped = (this.#skipped + 1) % PROBE_WINDOWS;
    return this.#skipped === 0;
  }

  /** What came of looking. */
  judge(pieces: readonly { readonly isPlaced: boolean }[]): void {
    this.#judged += pieces.length;
    for (const { isPlaced } of pieces) if (isPlaced) this.#useful += 1;
    if (this.#judged < JUDGED_MIN) return;
    this.#isOfUse = this.#useful >= this.#judged * USE_SHARE_MIN;
    this.#judged /= 2;
    this.#useful /= 2;
  }

  /** The provider has, or will have, this content there; of one chunk. */
  learn(content: Uint8Array, offsetBytes: number): void {
    const samples = this.#samples.subarray(0, samplesPerChunk(content.byteLength));
    takeSamples(content, samples);
    const chunk = Math.floor(offsetBytes / OFFER_BYTES);
    for (const sample of samples) this.#set(sample, chunk);
  }

  /**
   * An epoch is sent: its samples are those of the chunks in which its pieces lie. `numbers` says
   * which chunk that is, from number `first` of the table on.
   */
  async merge({ table, numbers, first, pool, turns }: MergeOptions): Promise<void> {
    const slots = pool === undefined ? STEP_SLOTS : Infinity;
    for (let slot = 0; slot < 2 ** table.slotsLog2; ) {
      await turns?.next();
      if (this.#young.isFull) this.#beginAnew();
      const [from, to] = [table.memory, this.#young.memory];
      const job = { kind: 'merge', from, to, numbers, first, slot, slots } as const;
      const merged = await (pool?.run<'merge'>(job) ?? runJob<'merge'>(job));
      this.#unsaved += merged.count;
      slot = merged.slot;
    }
  }

  /** Keeps it for the next run, if that is worth it. What fails costs bytes on the wire only. */
  async save({ turns, isLast = false }: SaveOptions = {}): Promise<void> {
    if (this.#unsaved < (isLast ? 1 : SAVE_FROM)) return;
    this.#unsaved = 0;
    const bytes = await encoded([this.#old, this.#young], turns);
    await replaceStateFile(this.#env, this.#path, bytes).catch(forgone);
  }

  #set(hash: number, chunk: number): void {
    if (hash === 0 || chunk >= CHUNKS_MAX) return;
    if (this.#young.isFull) this.#beginAnew();
    this.#young.set(hash, chunk);
    this.#unsaved += 1;
  }

  #beginAnew(): void {
    this.#old = this.#young;
    this.#young = SimilarTable.for(this.#contentBytes);
  }

  #load(bytes: Uint8Array): void {
    for (const [hash, chunk] of decoded(bytes)) this.#set(hash, chunk);
    this.#unsaved = 0;
  }
}

export type MergeOptions = {
  readonly table: SimilarTable;
  readonly numbers: Uint32Array;
  readonly first: number;
  readonly pool: CodecPool | undefined;
  readonly turns: Turns | undefined;
};

export type SaveOptions = {
  readonly turns?: Turns | undefined;
  /** No other chance will come. */
  readonly isLast?: boolean;
};

/** Magic, CRC-32 of the rest, then a sample and a chunk in turn; oldest first. */
async function encoded(
  tables: readonly (SimilarTable | undefined)[],
  turns: Turns | undefined,
): Promise<Uint8Array> {
  const known = tables.filter((table) => table !== undefined);
  const entriesMax = known.reduce((sum, { count }) => sum + count, 0);
  const bytes = new Uint8Array(HEAD_BYTES + entriesMax * ENTRY_BYTES);
  const view = new DataView(bytes.buffer);
  let at = HEAD_BYTES;
  for (const table of known) {
    for (let slot = 0; slot < 2 ** table.slotsLog2; slot += STEP_SLOTS) {
      await turns?.next();
      for (const [hash, chunk] of table.entries(slot, STEP_SLOTS)) {
        if (at === bytes.byteLength) break; // Learned meanwhile.
        view.setUint32(at, hash, true);
        view.setUint32(at + 4, chunk, true);
        at += ENTRY_BYTES;
      }
    }
  }
  view.setUint32(0, MAGIC, true);
  view.setUint32(4, crc32(bytes.subarray(HEAD_BYTES, at)), true);
  return bytes.subarray(0, at);
}

/** Nothing of what is damaged. */
function* decoded(bytes: Uint8Array): Generator<[sample: number, chunk: number]> {
  if (bytes.byteLength < HEAD_BYTES) return;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint32(0, true) !== MAGIC) return;
  if (view.getUint32(4, true) !== crc32(bytes.subarray(HEAD_BYTES))) return;
  for (let at = HEAD_BYTES; at + ENTRY_BYTES <= bytes.byteLength; at += ENTRY_BYTES) {
    yield [view.getUint32(at, true), view.getUint32(at + 4, true)];
  }
}

/** What a crash has left of writing it. */
async function removeUnfinished({ files }: Env, path: string): Promise<void> {
  const [directory, name] = [dirname(path), basename(path)];
  for (const other of await files.list(directory)) {
    if (other.startsWith(`${name}.`)) await files.remove(`${directory}/${other}`);
  }
}

/** It is learned again from what is sent. */
function forgone(error: unknown): undefined {
  if (!(error instanceof FerryError)) throw error;
}
