/** Where content with a given hash lies in a journal: for references to what just came. */
import { KNOWN_HASHES_MAX, OFFER_BYTES } from '../limits.ts';
import type { RecordPlace } from './journal-record.ts';

export type KnownPlace = {
  readonly place: RecordPlace;
  readonly skipBytes: number;
  readonly lengthBytes: number;
};

/** Of one journal; the oldest are forgotten. */
export class KnownPlaces {
  readonly #chunks = new Map<string, KnownPlace>();
  /** What is no whole chunk is offered again only if its epoch did not come to an end. */
  readonly #pieces = new Map<string, KnownPlace>();

  /** Of epochs that were given up: few, and all of them stay until the next commit. */
  #blocks = new Map<string, KnownPlace>();

  find(hash: Uint8Array): KnownPlace | undefined {
    const key = keyOf(hash);
    return this.#chunks.get(key) ?? this.#pieces.get(key) ?? this.#blocks.get(key);
  }

  /** Takes blocks, in vain once an epoch was committed. */
  blocks(): (hash: Uint8Array, place: KnownPlace) => void {
    const blocks = this.#blocks;
    return (hash, place) => void blocks.set(keyOf(hash), place);
  }

  add(hash: Uint8Array, place: KnownPlace): void {
    const key = keyOf(hash);
    const places = place.lengthBytes === OFFER_BYTES ? this.#chunks : this.#pieces;
    if (places.has(key)) return;
    places.set(key, place);
    if (places.size <= KNOWN_HASHES_MAX) return;
    for (const oldest of places.keys()) {
      places.delete(oldest);
      break;
    }
  }

  /** All that came is part of an epoch. */
  committed(): void {
    this.#pieces.clear();
    this.#blocks = new Map();
  }
}

/** One byte for each of the hash: half of what hexadecimal takes. */
function keyOf(hash: Uint8Array): string {
  return Buffer.from(hash.buffer, hash.byteOffset, hash.byteLength).toString('latin1');
}
