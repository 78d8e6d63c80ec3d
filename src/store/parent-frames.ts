/** Which frames the parents of a job's chunks are in, and what holding those frames takes. */
import type { Location } from './chunk-index.ts';
import { frameHeldBytes } from './frame-cache.ts';

/** A job takes in no further frame for parents once they need this much memory. */
const HELD_BYTES_TARGET = 2 * 1024 * 1024;

/** What a frame takes that parents stand on; which ones those are, only reading them tells. */
const FRAME_BELOW_BYTES = 200 * 1024;

export class ParentFrames {
  readonly #names = new Set<string>();
  #heldBytes = 0;

  hasRoomFor(parent: Location): boolean {
    if (this.#names.size === 0 || this.#names.has(nameOf(parent))) return true;
    return this.#heldBytes + heldBytesOf(parent) <= HELD_BYTES_TARGET;
  }

  add(parent: Location): void {
    const name = nameOf(parent);
    if (this.#names.has(name)) return;
    this.#names.add(name);
    this.#heldBytes += heldBytesOf(parent);
  }

  clear(): void {
    this.#names.clear();
    this.#heldBytes = 0;
  }
}

function nameOf({ pack, table, ordinal }: Location): string {
  return `${pack}/${table.frameOf(ordinal)}`;
}

function heldBytesOf({ table, ordinal }: Location): number {
  const below = table.touched[ordinal]! - 1;
  return frameHeldBytes(table, table.frameOf(ordinal)) + below * FRAME_BELOW_BYTES;
}
