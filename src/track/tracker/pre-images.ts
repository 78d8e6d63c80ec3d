/** Pre-images: what blocks held at a cut, kept when they are first overwritten after it. */
import type { Extent } from '../../core/index.ts';
import type { Answer, Device } from '../../device/index.ts';
import { type Flight, overlapping } from './epochs.ts';
import { BLOCK_BYTES, PRE_IMAGE_LAYERS_MAX, PRE_IMAGES_PER_LAYER_MAX } from './limits.ts';
import type { Shape } from './shape.ts';

export type PreImagesOptions = {
  readonly base: Device;
  readonly shape: Shape;
  /** Beyond it nothing is kept until something is dropped: whole blocks travel then. */
  readonly bytesMax: number;
};

/** From one cut to the next. */
type Layer = {
  readonly mark: string;
  /** Under way at the cut: they belong to what was before it. */
  readonly early: Set<Flight>;
  /** Where each block that was overwritten since the cut is kept, or NOT_KEPT. */
  readonly slots: Map<number, number>;
  /** Blocks were overwritten of which nothing is remembered. */
  isOverfull: boolean;
};

const NOT_KEPT = -1;

/** Where fewer of those that were looked at served for a patch, reading them costs more. */
const USE_SHARE_MIN = 1 / 32;
/** So many are looked at before that is believed; the past then counts half. */
const JUDGED_MIN = 512;
/** While they do not serve, those of one block in so many are kept: times change. */
const PROBE_BLOCKS = 16;

/** Memory is taken in steps, and kept while it serves: a busy volume needs it again at once. */
const SLAB_BLOCKS = 256;

/** Nothing rests on it: who uses what it gives proves it, and can do without. */
export class PreImages {
  readonly #base: Device;
  readonly #shape: Shape;
  readonly #slotsMax: number;
  readonly #slabs: Uint8Array[] = [];
  readonly #free: number[] = [];
  #layers: Layer[] = [];
  /** From which cut on each consumer wants to know. */
  readonly #held = new Map<string, string>();
  readonly #keeping = new Set<Flight>();
  /** Written since the last cut, blocks that were written twice counted twice. */
  writtenBytes = 0;
  #judged = 0;
  #useful = 0;
  #isOfUse = true;
  #scratch = new Uint8Array(BLOCK_BYTES);
  /** Told of each write; must be quick. */
  onWritten: ((writtenBytes: number) => void) | undefined;

  constructor({ base, shape, bytesMax }: PreImagesOptions) {
    this.#base = base;
    this.#shape = shape;
    this.#slotsMax = Math.floor(bytesMax / BLOCK_BYTES);
  }

  get keptBytes(): number {
    return (this.#slabs.length * SLAB_BLOCKS - this.#free.length) * BLOCK_BYTES;
  }

  /** In the step of the cut itself. */
  begin(mark: string, flights: Iterable<Flight>): void {
    const early = new Set(flights);
    for (const flight of early) {
      const gone = () => early.delete(flight);
      flight.landed.then(gone, gone);
    }
    this.#layers.push({ mark, early, slots: new Map(), isOverfull: false });
    if (this.#layers.length > PRE_IMAGE_LAYERS_MAX) this.#drop(1);
    this.writtenBytes = 0;
  }

  /** `consumer` has what was there at that cut: what was before it is of no use to it any more. */
  hold(consumer: string, mark: string): void {
    this.#held.set(consumer, mark);
    const marks = new Set(this.#held.values());
    const first = this.#layers.findIndex((layer) => marks.has(layer.mark));
    if (first > 0) this.#drop(first);
  }

  release(consumer: string): void {
    this.#held.delete(consumer);
  }

  /** What to wait for before blocks [first, last] are changed, and then to ask again. */
  keep(first: number, last: number): Promise<void> | undefined {
    const layer = this.#layers.at(-1);
    if (layer === undefined) return undefined;
    let from = first;
    while (from <= last && layer.slots.has(from)) from += 1;
    if (from <= last && !layer.isOverfull) {
      const busy = overlapping(layer.early, from, last) ?? overlapping(this.#keeping, from, last);
      if (busy !== undefined) return busy.landed.then(ignore, ignore);
      const keeping = this.#keepFrom(layer, from, last);
      if (keeping !== undefined) return keeping;
    }
    this.writtenBytes += (last - first + 1) * BLOCK_BYTES;
    this.onWritten?.(this.writtenBytes);
    return undefined;
  }

  /** Whether one that was asked for made a patch possible. */
  judge(wasOfUse: boolean): void {
    this.#judged += 1;
    if (wasOfUse) this.#useful += 1;
    if (this.#judged < JUDGED_MIN) return;
    const isOfUse = this.#useful >= this.#judged * USE_SHARE_MIN;
    // What is being read just now goes into memory that must stay: the next time, then.
    if (!isOfUse && this.#isOfUse && this.#keeping.size === 0) this.#forget();
    else if (isOfUse) this.#isOfUse = true;
    this.#judged /= 2;
    this.#useful /= 2;
  }

  /** A few are kept from now on, in as little memory as that takes. */
  #forget(): void {
    this.#isOfUse = false;
    for (const { slots } of this.#layers)
      for (const block of slots.keys()) slots.set(block, NOT_KEPT);
    this.#slabs.length = 0;
    this.#free.length = 0;
  }

  /** What was there at the cut of that mark; undefined if unknown. Valid until the next call. */
  old({ offsetBytes, lengthBytes }: Extent, mark: string): Uint8Array | undefined {
    const start = this.#layers.findIndex((layer) => layer.mark === mark);
    if (start < 0) return undefined;
    if (this.#scratch.byteLength < lengthBytes) this.#scratch = new Uint8Array(lengthBytes);
    const bytes = this.#scratch.subarray(0, lengthBytes);
    const endBytes = offsetBytes + lengthBytes;
    for (let at = offsetBytes; at < endBytes; ) {
      const block = Math.floor(at / BLOCK_BYTES);
      const end = Math.min(endBytes, (block + 1) * BLOCK_BYTES);
      const slot = this.#find(block, start);
      if (slot === undefined) return undefined;
      const inside = at - block * BLOCK_BYTES;
      bytes.set(this.#view(slot).subarray(inside, inside + end - at), at - offsetBytes);
      at = end;
    }
    return bytes;
  }

  /** The first write after the cut kept what was there; a later layer may have been the first. */
  #find(block: number, start: number): number | undefined {
    for (let at = start; at < this.#layers.length; at += 1) {
      const { slots, isOverfull } = this.#layers[at]!;
      const slot = slots.get(block);
      if (slot !== undefined) return slot === NOT_KEPT ? undefined : slot;
      if (isOverfull) return undefined;
    }
    return undefined;
  }

  /** All of it at once, if the base answers at once. */
  #keepFrom(layer: Layer, first: number, last: number): Promise<void> | undefined {
    for (let block = first; block <= last; block += 1) {
      if (layer.slots.has(block)) continue;
      if (layer.slots.size >= PRE_IMAGES_PER_LAYER_MAX) {
        layer.isOverfull = true;
        return undefined;
      }
      const slot = this.#isOfUse || isProbe(block) ? this.#takeSlot() : undefined;
      if (slot === undefined) {
        layer.slots.set(block, NOT_KEPT);
        continue;
      }
      const offsetBytes = block * BLOCK_BYTES;
      const lengthBytes = Math.min(BLOCK_BYTES, this.#shape.sizeBytes - offsetBytes);
      const settled = (isKept: boolean) => {
        // The layer may have been dropped meanwhile.
        const isUsed = isKept && this.#layers.includes(layer);
        if (!isUsed) this.#free.push(slot);
        layer.slots.set(block, isUsed ? slot : NOT_KEPT);
      };
      const answer = attempted(() =>
        this.#base.read(this.#view(slot).subarray(0, lengthBytes), offsetBytes),
      );
      if (typeof answer === 'boolean') settled(answer);
      else return this.#later({ first: block, last: block }, answer.then(settled));
    }
    return undefined;
  }

  #later(blocks: Pick<Flight, 'first' | 'last'>, landed: Promise<void>): Promise<void> {
    const keeping = { ...blocks, landed };
    this.#keeping.add(keeping);
    return landed.finally(() => this.#keeping.delete(keeping));
  }

  #takeSlot(): number | undefined {
    const free = this.#free.pop();
    if (free !== undefined) return free;
    const next = this.#slabs.length * SLAB_BLOCKS;
    if (next + SLAB_BLOCKS > this.#slotsMax) return undefined;
    this.#slabs.push(new Uint8Array(SLAB_BLOCKS * BLOCK_BYTES));
    for (let slot = next + SLAB_BLOCKS - 1; slot > next; slot -= 1) this.#free.push(slot);
    return next;
  }

  #view(slot: number): Uint8Array {
    const at = (slot % SLAB_BLOCKS) * BLOCK_BYTES;
    return this.#slabs[Math.floor(slot / SLAB_BLOCKS)]!.subarray(at, at + BLOCK_BYTES);
  }

  #drop(count: number): void {
    for (const { slots } of this.#layers.splice(0, count)) {
      for (const slot of slots.values()) if (slot !== NOT_KEPT) this.#free.push(slot);
    }
  }
}

/** Spread over all of the volume (Fibonacci hashing). */
function isProbe(block: number): boolean {
  return Math.imul(block, 0x9e3779b1) >>> 0 < 2 ** 32 / PROBE_BLOCKS;
}

/** Whether it was read; a failure is the writer's to meet, not ours. */
function attempted(read: () => Answer): boolean | Promise<boolean> {
  try {
    const answer = read();
    if (answer === undefined) return true;
    return answer.then(
      () => true,
      () => false,
    );
  } catch {
    return false;
  }
}

function ignore(): void {}
