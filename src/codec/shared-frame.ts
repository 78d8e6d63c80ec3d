/**
 * A frame in shared memory that serves many jobs: what the first of them finds out, whichever
 * thread runs it, is noted for those that follow.
 */
import { type Frame, parseFrame, plainSection } from './frame.ts';
import { type FramePlace, openFrame } from './frame-seal.ts';

/** A range of memory that both sides see. */
export type SharedRange = {
  readonly memory: SharedArrayBuffer;
  readonly at: number;
  readonly lengthBytes: number;
};

export type SharedFrame = SharedRange & {
  /** There are FRAME_NOTES_BYTES before it, zero at first, at a multiple of four. */
  readonly hasNotes?: boolean;
  /** Room for the plain section, only with notes. */
  readonly section?: SharedArrayBuffer | undefined;
};

/** Two words: whether its checksum was right, and the state of the section. */
export const FRAME_NOTES_BYTES = 8;
const CHECKSUM_NOTE = 0;
const SECTION_NOTE = 1;

/** What a note says; a section that nobody has come to yet is 0. */
const DONE = 1;
const BUSY = 2;

/** As jobs see it. */
export type OpenFrame = Frame & {
  /** Where the section is, or is to be, kept for others. */
  readonly shared: { readonly notes: Int32Array; readonly section: Uint8Array } | undefined;
};

export function bytesOf(range: SharedRange): Uint8Array {
  return new Uint8Array(range.memory, range.at, range.lengthBytes);
}

/** CODEC_DAMAGED if its checksum is wrong, or it is not what was sealed there. */
export function openShared(frame: SharedFrame, place: FramePlace | undefined): OpenFrame {
  const stored = bytesOf(frame);
  const notes = notesOf(frame);
  const section = frame.section && new Uint8Array(frame.section);
  const shared = notes && section && { notes, section };
  if (place !== undefined) return { ...parseFrame(openFrame(stored, place).secret), shared };
  const isSound = notes !== undefined && Atomics.load(notes, CHECKSUM_NOTE) === DONE;
  const parsed = parseFrame(stored, { isSound });
  if (notes !== undefined) Atomics.store(notes, CHECKSUM_NOTE, DONE);
  return { ...parsed, shared };
}

function notesOf({ memory, at, hasNotes }: SharedFrame): Int32Array | undefined {
  if (hasNotes !== true) return undefined;
  return new Int32Array(memory, at - FRAME_NOTES_BYTES, FRAME_NOTES_BYTES / 4);
}

/**
 * The plain section in the memory that is shared, decompressed now unless it was before. Undefined
 * where there is no such memory, or another thread is at it: it then has to be done elsewhere.
 */
export function sharedSection(frame: OpenFrame): Uint8Array | undefined {
  const { shared, plainRawBytes } = frame;
  if (shared === undefined || shared.section.byteLength < plainRawBytes) return undefined;
  const { notes, section } = shared;
  const before = Atomics.compareExchange(notes, SECTION_NOTE, 0, BUSY);
  if (before === DONE) return section.subarray(0, plainRawBytes);
  if (before === BUSY) return undefined;
  let isThere = false;
  try {
    const bytes = plainSection(frame, section);
    if (bytes.buffer === frame.bytes.buffer) return bytes; // It lies in the frame as it is.
    if (bytes.buffer !== section.buffer) section.set(bytes); // Not every way decodes into memory.
    isThere = true;
    return section.subarray(0, plainRawBytes);
  } finally {
    Atomics.store(notes, SECTION_NOTE, isThere ? DONE : 0);
  }
}
