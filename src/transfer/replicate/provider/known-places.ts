/** Where content with a given hash lies in a journal: for references to what just came. */
import { KNOWN_HASHES_MAX } from '../limits.ts';
import type { RecordPlace } from './journal-record.ts';

export type KnownPlace = {
  readonly place: RecordPlace;
  readonly skipBytes: number;
  readonly lengthBytes: number;
};

/** Of one journal; the oldest are forgotten. */
export class KnownPlaces {
  readonly #places = new Map<string, KnownPlace>();

  find(hash: Uint8Array): KnownPlace | undefined {
    return this.#places.get(keyOf(hash));
  }

  add(hash: Uint8Array, place: KnownPlace): void {
    const key = keyOf(hash);
    if (this.#places.has(key)) return;
    this.#places.set(key, place);
    if (this.#places.size <= KNOWN_HASHES_MAX) return;
    for (const oldest of this.#places.keys()) {
      this.#places.delete(oldest);
      break;
    }
  }
}

/** One byte for each of the hash: half of what hexadecimal takes. */
function keyOf(hash: Uint8Array): string {
  return Buffer.from(hash.buffer, hash.byteOffset, hash.byteLength).toString('latin1');
}
