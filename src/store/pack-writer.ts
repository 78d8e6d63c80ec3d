/** Writes one pack: records are announced first, their frames follow in the same order. */
import assert from 'node:assert/strict';
import { type Random, toHex } from '../core/index.ts';
import type { ObjectStore, ObjectWriter } from '../objects/index.ts';
import { ignoreObjectError } from './errors.ts';
import { encodePackHeader, encodePackTail, PACK_ID_BYTES, packKey } from './pack-file.ts';
import { PACK_HEADER_BYTES, PackTable } from './pack-table.ts';
import type { SealedObjects } from './sealer.ts';

export type FrameFacts = {
  readonly firstRecord: number;
  readonly number: number;
  readonly hash?: Uint8Array | undefined;
};

/**
 * A pack under construction. Announcing a record gives it its ordinal at once, so that later
 * chunks can refer to it while its frame is still being compressed.
 */
export class PackWriter implements AsyncDisposable {
  readonly id: string;
  readonly table: PackTable;
  readonly #objects: ObjectStore;
  #writer: ObjectWriter | undefined;
  #numbered = 0;
  /** Where the next frame goes. */
  storedBytes = PACK_HEADER_BYTES;

  constructor(objects: SealedObjects, random: Random) {
    const id = new Uint8Array(PACK_ID_BYTES);
    random.fill(id);
    this.id = toHex(id);
    this.table = new PackTable(objects.sealer.pack(this.id));
    this.#objects = objects;
  }

  /** The number of the next frame; each is given once, in the order in which they are appended. */
  numberFrame(): number {
    return this.#numbered++;
  }

  /**
   * Appends a frame that holds the announced records from `firstRecord` on. Calls do not overlap.
   * `number` is what it was sealed as: frames must come in that order, without a gap.
   */
  async appendFrame(frame: Uint8Array, { firstRecord, number, hash }: FrameFacts): Promise<void> {
    assert(firstRecord < this.table.count, 'a frame without announced records');
    assert(number === this.table.frameFirst.length, 'a frame out of its order');
    if (this.#writer === undefined) {
      this.#writer = await this.#objects.create(packKey(this.id));
      await this.#writer.append(encodePackHeader(this.id));
    }
    this.table.addFrame(firstRecord, this.storedBytes, frame.byteLength, hash);
    this.storedBytes += frame.byteLength;
    await this.#writer.append(frame);
  }

  /** Whether frames that were appended can be read before the pack is sealed. */
  get readsBack(): boolean {
    return this.#writer?.readBack !== undefined;
  }

  /** Fills `target` with the frame, which was appended; false once the pack is being sealed. */
  async readBack(frame: number, target: Uint8Array): Promise<boolean> {
    const offsetBytes = this.table.frameOffset[frame]!;
    return (await this.#writer?.readBack?.(target, offsetBytes)) ?? false;
  }

  /** Durable and readable afterwards; returns the size of the whole object. */
  async seal(): Promise<number> {
    assert(this.#writer !== undefined, 'an empty pack is never sealed');
    const tail = encodePackTail(this.table, this.storedBytes);
    await this.#writer.append(tail);
    try {
      await this.#writer.commit();
    } catch (error) {
      // It may be there for others to find, and nobody can say any more that it is durable.
      await this.#objects.remove(packKey(this.id)).catch(ignoreObjectError);
      throw error;
    }
    this.#writer = undefined;
    return this.storedBytes + tail.byteLength;
  }

  /** Drops the pack if it was not sealed. */
  async [Symbol.asyncDispose](): Promise<void> {
    const writer = this.#writer;
    this.#writer = undefined;
    await writer?.[Symbol.asyncDispose]();
  }
}
