/**
 * Frames as they are stored, in memory that threads see: read once for all plans that want them at
 * a time, and kept for later ones while there is room. With them lies the plain section, once a
 * thread has decompressed it.
 */
import {
  bytesOf,
  FRAME_NOTES_BYTES,
  FRAME_RAW_MAX,
  FRAME_SEAL_BYTES,
  FRAME_STORED_MAX,
  type FrameRecord,
  type SharedFrame,
  type SharedRange,
} from '../codec/index.ts';
import type { ObjectStore } from '../objects/index.ts';
import type { Location } from './chunk-index.ts';
import { FRAMES_KEPT_BYTES } from './limits.ts';
import { readFrame } from './pack-file.ts';
import type { PackTable } from './pack-table.ts';
import { SpareShared } from './spare-shared.ts';

/**
 * Fills `target` with a frame of a pack that is being written and cannot be read from the store
 * yet; false if it is of another pack, or was not kept.
 */
export type HeldFrames = (
  packId: string,
  frameNumber: number,
  target: Uint8Array,
) => Promise<boolean>;

export type KeptFrame = {
  readonly frame: SharedFrame;
  /** Rejects as reading it has; nobody else gets it then. */
  readonly ready: Promise<void>;
  readonly sizeBytes: number;
  /** Once somebody has parsed it here. */
  records: readonly FrameRecord[] | undefined;
  users: number;
  /** Nobody finds it any more. */
  isGone: boolean;
};

export type FrameCacheOptions = {
  readonly keptBytesMax?: number;
  /** Has frames of packs that are not sealed yet. */
  readonly held?: HeldFrames;
};

/** Only what is touched of a piece takes memory: most frames are far shorter than they may be. */
const STORED_SIZES = [
  64 * 1024,
  256 * 1024,
  FRAME_NOTES_BYTES + FRAME_STORED_MAX + FRAME_SEAL_BYTES,
];
const SECTION_SIZES = [64 * 1024, FRAME_RAW_MAX];

export class FrameCache {
  readonly #objects: ObjectStore;
  readonly #keptBytesMax: number;
  readonly #held: HeldFrames | undefined;
  /** The least recently used come first. Those in use are bounded by the plans of their users. */
  readonly #frames = new Map<string, KeptFrame>();
  readonly #stored = new SpareShared(STORED_SIZES);
  readonly #sections = new SpareShared(SECTION_SIZES);
  #bytes = 0;

  constructor(objects: ObjectStore, options: FrameCacheOptions = {}) {
    this.#objects = objects;
    this.#held = options.held;
    this.#keptBytesMax = options.keptBytesMax ?? FRAMES_KEPT_BYTES;
  }

  /** To be given back; its bytes are there once it is `ready`. */
  take(location: Location, number: number): KeptFrame {
    const name = `${location.pack}/${number}`;
    let kept = this.#frames.get(name);
    if (kept === undefined) kept = this.#read(name, location, number);
    else this.#frames.delete(name); // And in again below, as the most recent.
    this.#frames.set(name, kept);
    kept.users++;
    return kept;
  }

  give(kept: KeptFrame): void {
    kept.users--;
    if (kept.users === 0 && kept.isGone) this.#free(kept);
  }

  #read(name: string, location: Location, number: number): KeptFrame {
    const { table } = location;
    const sectionBytes = sectionBytesMax(table, number);
    const frame = this.#room(table.frameBytes[number]!, sectionBytes);
    const reading = this.#fill(location, number, bytesOf(frame));
    const sizeBytes = frame.lengthBytes + (frame.section === undefined ? 0 : sectionBytes);
    // Reading is a user too: the memory is not another's until it ends.
    const kept = { frame, ready: reading, sizeBytes, records: undefined, users: 1, isGone: false };
    reading.then(
      () => this.give(kept),
      () => {
        if (!kept.isGone) this.#forget(name, kept);
        this.give(kept);
      },
    );
    return kept;
  }

  async #fill({ packId, table }: Location, number: number, target: Uint8Array): Promise<void> {
    if (await this.#held?.(packId, number, target)) return;
    await readFrame(this.#objects, packId, target, table.frameOffset[number]!, 'once');
  }

  /** A frame that is wanted gets its memory; a section only what is left for it. */
  #room(storedBytes: number, sectionBytes: number): SharedFrame {
    this.#makeRoom(storedBytes + sectionBytes);
    const memory = this.#stored.take(FRAME_NOTES_BYTES + storedBytes);
    new Int32Array(memory, 0, FRAME_NOTES_BYTES / 4).fill(0);
    const range: SharedRange = { memory, at: FRAME_NOTES_BYTES, lengthBytes: storedBytes };
    this.#bytes += storedBytes;
    const hasSection = sectionBytes > 0 && this.#bytes + sectionBytes <= this.#keptBytesMax;
    if (!hasSection) return { ...range, hasNotes: true };
    this.#bytes += sectionBytes;
    return { ...range, hasNotes: true, section: this.#sections.take(sectionBytes) };
  }

  #makeRoom(lengthBytes: number): void {
    for (const [name, kept] of this.#frames) {
      if (this.#bytes + lengthBytes <= this.#keptBytesMax) return;
      if (kept.users > 0) continue;
      this.#forget(name, kept);
      this.#free(kept);
    }
  }

  #forget(name: string, kept: KeptFrame): void {
    this.#frames.delete(name);
    kept.isGone = true;
  }

  #free({ frame, sizeBytes }: KeptFrame): void {
    this.#bytes -= sizeBytes;
    this.#stored.give(frame.memory);
    if (frame.section !== undefined) this.#sections.give(frame.section);
  }
}

/** What its plain section comes to at most; 0 if there are but patches in it. */
function sectionBytesMax(table: PackTable, frame: number): number {
  const end = table.frameFirst[frame + 1] ?? table.count;
  let plainBytes = 0;
  for (let at = table.frameFirst[frame]!; at < end; at++) {
    if (table.depths[at] === 0) plainBytes += table.rawBytes[at]!;
  }
  return Math.min(plainBytes, FRAME_RAW_MAX);
}

/** What a parsed record costs beside its bytes: an object, and the names of its parents. */
const RECORD_OVERHEAD_BYTES = 256;

/** What a frame costs however small it is. */
const FRAME_OVERHEAD_BYTES = 4096;

/** Memory that a frame of a plan needs, as stored and parsed; it is decompressed one at a time. */
export function frameHeldBytes(table: PackTable, frame: number): number {
  const first = table.frameFirst[frame] ?? 0;
  const end = table.frameFirst[frame + 1] ?? table.count;
  const records = (end - first) * RECORD_OVERHEAD_BYTES + FRAME_OVERHEAD_BYTES;
  return (table.frameBytes[frame] ?? 0) + records;
}
