/** Placed patches: what pieces of an epoch resemble, in the epoch below and in what was sent. */
import {
  type CodecPool,
  LEFT_OUT,
  PATCH_PARENTS_MAX,
  type PackLike,
  SimilarTable,
} from '../../../codec/index.ts';
import {
  type Extent,
  equalBytes,
  FerryError,
  Gate,
  SHA256_BYTES,
  sha256,
  type Turns,
} from '../../../core/index.ts';
import type { Device } from '../../../device/index.ts';
import type { Place } from '../../../wire/index.ts';
import { OFFER_BYTES, PLACED_PIECES_MAX, PLACES_BYTES_MAX } from '../limits.ts';
import { memory } from '../memory.ts';
import { CHUNKS_MAX, type Likeness } from './likeness.ts';
import type { PackedPiece, Piece, WindowMemory } from './window-memory.ts';

/** What may be stood on, and where it can be read. */
export type Below = {
  readonly likeness: Likeness;
  /** Reads what the provider has there, if that is still known. */
  read(target: Uint8Array, offsetBytes: number): Promise<boolean>;
};

export type PlacedOptions = Below & {
  /** The epoch: a piece that was sent can be read again until it is overwritten. */
  readonly device: Device;
  readonly changedBytes: number;
  readonly pool: CodecPool | undefined;
  readonly turns: Turns | undefined;
};

/** What the pieces of one window resemble; in their order. */
export type Likes = {
  readonly memory: SharedArrayBuffer | undefined;
  readonly ranges: readonly (readonly PackLike[])[];
  readonly places: readonly (readonly Place[])[];
  /** Settles when all that it may stand on has been sent. */
  readonly before: Promise<void>;
  /** The hashes are known; later windows may stand on these pieces. */
  packed(pieces: readonly PackedPiece[]): void;
  /** The window has been sent, or will not be. */
  over(): void;
};

/** Once it is packed `hashes` has those of its window. */
type Sent = Extent & { hashes: Uint8Array | undefined; hashAt: number };
type Loaded = { readonly place: Place; readonly range: PackLike };

export class PlacedPatches {
  readonly #options: PlacedOptions;
  readonly #fresh: SimilarTable;
  /** By their numbers in the table, less CHUNKS_MAX. */
  readonly #sent: Sent[] = [];
  /** Windows look one after the other, and are sent in that order. */
  readonly #gate = new Gate({ limit: 1 });
  #before: Promise<void> = Promise.resolve();

  constructor(options: PlacedOptions) {
    this.#options = options;
    this.#fresh = SimilarTable.for(options.changedBytes);
  }

  /**
   * Looks at the content, which must not be packed yet. `over` must be called in the end.
   * `recordCount`: of the epoch, so far.
   */
  async find(held: WindowMemory, pieces: readonly Piece[], recordCount: number): Promise<Likes> {
    await this.#gate.enter();
    const sent = Promise.withResolvers<void>();
    try {
      const { likeness } = this.#options;
      // The provider finds no pieces in an epoch of very many; what comes later counts there too.
      const hasPlaces = recordCount < PLACED_PIECES_MAX / 2;
      const tables = [...likeness.tables, ...(hasPlaces ? [this.#fresh.memory] : [])];
      const isLooked = likeness.isWorthLooking();
      const found = isLooked ? await held.match(pieces, tables, PATCH_PARENTS_MAX) : [];
      const { lent, loaded } = await this.#load(found);
      const first = this.#sent.length;
      await this.#remember(held, pieces);
      const likes = pieces.map((_, at) => found[at]?.flatMap((number) => loaded.get(number) ?? []));
      const before = this.#before;
      this.#before = sent.promise;
      return {
        ...{ memory: lent?.buffer, before },
        ranges: likes.map((list) => list?.map(({ range }) => range) ?? []),
        places: likes.map((list) => list?.map(({ place }) => place) ?? []),
        packed: (all) => {
          if (lent !== undefined) memory.giveBack(lent);
          const hashes = held.hashes.slice();
          for (const [at, { hashAt }] of all.entries()) {
            const piece = this.#sent[first + at];
            if (piece !== undefined) Object.assign(piece, { hashes, hashAt });
          }
          if (isLooked) likeness.judge(all);
        },
        over: () => sent.resolve(),
      };
    } finally {
      this.#gate.leave();
    }
  }

  /** All of it was sent: the next epochs may stand on it. */
  async merge(): Promise<void> {
    const { likeness, pool, turns } = this.#options;
    const numbers = Uint32Array.from(this.#sent, ({ offsetBytes }) => {
      const chunk = Math.floor(offsetBytes / OFFER_BYTES);
      return chunk < CHUNKS_MAX ? chunk : LEFT_OUT;
    });
    await likeness.merge({ table: this.#fresh, numbers, first: CHUNKS_MAX, pool, turns });
  }

  /** What fits, the most useful of each piece first. */
  async #load(found: readonly (readonly number[])[]) {
    const extents = new Map<number, Place>();
    let bytes = 0;
    for (let rank = 0; rank < PATCH_PARENTS_MAX; rank += 1) {
      for (const { [rank]: number } of found) {
        const place = number === undefined || extents.has(number) ? undefined : this.#at(number);
        if (place === undefined || bytes + place.lengthBytes > PLACES_BYTES_MAX) continue;
        extents.set(number!, place);
        bytes += place.lengthBytes;
      }
    }
    const loaded = new Map<number, Loaded>();
    if (bytes === 0) return { lent: undefined, loaded };
    const lent = memory.take(bytes);
    let at = 0;
    for (const [number, place] of extents) {
      await this.#options.turns?.next();
      const { lengthBytes } = place;
      const target = lent.subarray(at, at + lengthBytes);
      if (!(await this.#read(number, place, target))) continue;
      loaded.set(number, { place, range: { at, lengthBytes } });
      at += lengthBytes;
    }
    return { lent, loaded };
  }

  #at(number: number): Place | undefined {
    if (number >= CHUNKS_MAX) {
      const sent = this.#sent[number - CHUNKS_MAX];
      if (sent?.hashes === undefined) return undefined;
      const { offsetBytes, lengthBytes } = sent;
      return { offsetBytes, lengthBytes, isNew: true };
    }
    const offsetBytes = number * OFFER_BYTES;
    const lengthBytes = Math.min(OFFER_BYTES, this.#options.device.sizeBytes - offsetBytes);
    return lengthBytes > 0 ? { offsetBytes, lengthBytes, isNew: false } : undefined;
  }

  /** What cannot be read any more costs a patch, and nothing else. */
  async #read(number: number, place: Place, target: Uint8Array): Promise<boolean> {
    try {
      if (!place.isNew) return await this.#options.read(target, place.offsetBytes);
      await this.#options.device.read(target, place.offsetBytes);
      const { hashes, hashAt } = this.#sent[number - CHUNKS_MAX]!;
      return equalBytes(sha256(target), hashes!.subarray(hashAt, hashAt + SHA256_BYTES));
    } catch (error) {
      if (!(error instanceof FerryError)) throw error;
      return false;
    }
  }

  /** What later windows may stand on. */
  async #remember(held: WindowMemory, pieces: readonly Piece[]): Promise<void> {
    const first = this.#sent.length;
    const known = pieces.slice(0, Math.max(0, PLACED_PIECES_MAX / 2 - first));
    for (const { offsetBytes, lengthBytes } of known)
      this.#sent.push({ offsetBytes, lengthBytes, hashes: undefined, hashAt: 0 });
    await held.learn(known, this.#fresh.memory, CHUNKS_MAX + first);
  }
}
