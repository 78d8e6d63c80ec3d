/**
 * Finds, among chunks that are stored whole, those that resemble others of any volume, and makes
 * patches of them for packs that are written anew. What is a parent then stays whole, and what
 * something stands on already is never made a patch: depths only grow where nobody asks for them.
 */
import {
  compress,
  defaultCompression,
  encodePatch,
  findSimilar,
  SimilarTable,
  samplesPerChunk,
  takeSamples,
} from '../codec/index.ts';
import type { Location } from './chunk-index.ts';
import { ChunkReader } from './chunk-reader.ts';
import type { Collection } from './gc.ts';
import type { Garbage } from './gc-plan.ts';
import type { NewPatch, SparsePack } from './gc-repack.ts';
import { CONDEMNED_MAX } from './limits.ts';
import { RECORD_CHUNK } from './pack-table.ts';
import { referenceOf } from './parent-choice.ts';

/** What one run compares at most: whole chunks, and their plain bytes. */
const CHUNKS_MAX = 2 ** 18;
const CONTENT_BYTES_MAX = 16 * 1024 ** 3;

/** 36 MiB: eight samples for each chunk of a full run. */
const SLOTS_LOG2_MAX = 22;

/** Fewer than a patch may have: each may lie in another place, where a restore has to read it. */
const PARENTS_MAX = 4;

/** Of what the chunk takes alone: for less gain a restore would have to read its parents. */
const PATCH_SHARE_MAX = 1 / 2;

/** A pack that is in use is written anew if this share of it is gained. */
const PACK_GAIN_MIN = 0.1;

/** Patches that wait until it is known whether their pack is written anew. */
const PATCHES_BYTES_MAX = 32 * 1024 ** 2;

/** A pack, and which of its whole chunks become patches. */
type Compared = SparsePack & {
  readonly isSparse: boolean;
  readonly patches: Map<number, NewPatch>;
  gainedBytes: number;
  patchBytes: number;
};

/** The packs that are to be written anew: those that are sparse, and those where it gains much. */
export async function* similarPacks(run: Collection, garbage: Garbage): AsyncGenerator<SparsePack> {
  const picked = await pickPacks(run, garbage);
  const { standing, sparse } = garbage;
  const search = new SimilarSearch(run, picked);
  // What stays whole in any case is there first, so that all else can stand on it.
  for (const pack of picked) {
    for (const chunk of wholeChunks(pack)) {
      if (standing.isStoodOn(chunk)) await search.remember(chunk);
    }
  }
  for (const pack of picked) {
    for (const chunk of wholeChunks(pack)) {
      if (!standing.isStoodOn(chunk)) await search.compare(pack, chunk);
    }
    const storedBytes = pack.table.frameBytes.reduce((sum, bytes) => sum + bytes, 0);
    if (pack.isSparse || pack.gainedBytes >= storedBytes * PACK_GAIN_MIN) {
      run.report.similarChunks += pack.patches.size;
      run.report.similarBytes += pack.gainedBytes;
      yield pack;
    }
    pack.patches.clear();
  }
  const known = new Set(picked.map(({ number }) => number));
  for (const pack of sparse) if (!known.has(pack.number)) yield pack;
}

/**
 * Packs in a new random order each time, as many as one run compares: of a repository that has
 * more, any two come together in some run, and no run has to know of another.
 */
async function pickPacks(run: Collection, garbage: Garbage): Promise<Compared[]> {
  const { index } = run;
  const sparse = new Map(garbage.sparse.map((pack) => [pack.number, pack]));
  const numbers = [...garbage.kept].map((packId) => index.packNumber(packId)!);
  const picked: Compared[] = [];
  let room = CONDEMNED_MAX - garbage.dead.length - sparse.size;
  let chunks = 0;
  let bytes = 0;
  for (const number of shuffled([...sparse.keys(), ...numbers], run)) {
    run.options.signal?.throwIfAborted();
    const live = garbage.live.get(number);
    if (live === undefined) continue;
    const known = sparse.get(number);
    if (known === undefined && room-- <= 0) continue;
    const table = await index.table(number);
    const rest = { number, packId: index.packId(number), table, live, whole: undefined };
    const fresh = { patches: new Map(), gainedBytes: 0, patchBytes: 0 };
    const pack: Compared = { ...(known ?? rest), ...fresh, isSparse: known !== undefined };
    for (const { ordinal } of wholeChunks(pack)) {
      chunks++;
      bytes += table.rawBytes[ordinal]!;
    }
    if (picked.length > 0 && (chunks > CHUNKS_MAX || bytes > CONTENT_BYTES_MAX)) break;
    picked.push(pack);
  }
  return picked;
}

function shuffled(items: readonly number[], { parts }: Collection): number[] {
  const draws = new Uint32Array(items.length);
  parts.env.random.fill(new Uint8Array(draws.buffer));
  return items
    .map((item, at) => ({ item, draw: draws[at]! }))
    .sort((a, b) => a.draw - b.draw)
    .map(({ item }) => item);
}

function* wholeChunks({ number: pack, packId, table, live }: SparsePack): Generator<Location> {
  for (let ordinal = live.nextSet(0); ordinal < live.size; ordinal = live.nextSet(ordinal + 1)) {
    if (table.kinds[ordinal] !== RECORD_CHUNK || table.depths[ordinal] !== 0) continue;
    yield { pack, packId, table, ordinal };
  }
}

/** Each chunk is either remembered, and stays whole, or becomes a patch against such ones. */
class SimilarSearch {
  readonly #run: Collection;
  readonly #chunks: ChunkReader;
  readonly #table: SimilarTable;
  readonly #packs: ReadonlyMap<number, SparsePack>;
  /** By the numbers that the table knows. */
  readonly #packOf = new Uint32Array(CHUNKS_MAX);
  readonly #ordinalOf = new Uint32Array(CHUNKS_MAX);
  #count = 0;
  #doneBytes = 0;

  constructor(run: Collection, packs: readonly SparsePack[]) {
    this.#run = run;
    this.#chunks = new ChunkReader(run.parts.objects, run.index);
    this.#packs = new Map(packs.map((pack) => [pack.number, pack]));
    let bytes = 0;
    for (const pack of packs) {
      for (const { table, ordinal } of wholeChunks(pack)) bytes += table.rawBytes[ordinal]!;
    }
    this.#table = SimilarTable.for(bytes, SLOTS_LOG2_MAX);
  }

  async remember(chunk: Location): Promise<void> {
    this.#remember(chunk, await this.#read(chunk));
  }

  async compare(pack: Compared, chunk: Location): Promise<void> {
    const bytes = await this.#read(chunk);
    const found = findSimilar(bytes, [this.#table], PARENTS_MAX, this.#table.thinning);
    const parents = found.flatMap((number) => this.#locationOf(number) ?? []);
    const made = pack.patchBytes < PATCHES_BYTES_MAX && (await this.#patch(bytes, parents));
    if (!made) return this.#remember(chunk, bytes);
    pack.patches.set(chunk.ordinal, made.patch);
    pack.patchBytes += made.patch.patch.byteLength;
    pack.gainedBytes += made.gainedBytes;
  }

  /** Undefined if it would not take clearly less room. */
  async #patch(bytes: Uint8Array, parents: readonly Location[]) {
    if (parents.length === 0) return undefined;
    const contents: Uint8Array[] = [];
    for (const parent of parents) contents.push(await this.#chunks.bytes(parent));
    const patch = encodePatch(bytes, contents);
    if (patch === undefined) return undefined;
    const aloneBytes = compress(bytes, defaultCompression).stored.byteLength;
    if (patch.byteLength > aloneBytes * PATCH_SHARE_MAX) return undefined;
    const references = parents.map(({ table, ordinal }) =>
      referenceOf(table.id(ordinal), table.checksums[ordinal]!),
    );
    const gainedBytes = aloneBytes - patch.byteLength;
    return { patch: { patch, parents: references }, gainedBytes };
  }

  async #read(chunk: Location): Promise<Uint8Array> {
    this.#run.options.signal?.throwIfAborted();
    const bytes = await this.#chunks.bytes(chunk);
    this.#doneBytes += bytes.byteLength;
    this.#run.progress('comparing', this.#doneBytes);
    return bytes;
  }

  /** Who has a window first keeps it: those that follow have it because they resemble. */
  #remember({ pack, ordinal }: Location, bytes: Uint8Array): void {
    const samples = new Uint32Array(samplesPerChunk(bytes.byteLength));
    takeSamples(bytes, samples);
    let number: number | undefined;
    for (const sample of samples) {
      if (!this.#table.wants(sample) || this.#table.find(sample) !== undefined) continue;
      if (number === undefined) {
        if (this.#count === CHUNKS_MAX) return;
        number = this.#count++;
        this.#packOf[number] = pack;
        this.#ordinalOf[number] = ordinal;
      }
      this.#table.add(sample, number);
    }
  }

  #locationOf(number: number): Location | undefined {
    const found = this.#packs.get(this.#packOf[number]!);
    if (found === undefined) return undefined;
    const { number: pack, packId, table } = found;
    return { pack, packId, table, ordinal: this.#ordinalOf[number]! };
  }
}
