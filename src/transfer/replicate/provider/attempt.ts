/** Attempt: an epoch on its way, from its EPOCH_CUT to its EPOCH_COMMIT. */
import { FerryError } from '../../../core/index.ts';
import type {
  BlockData,
  BlockReference,
  EpochCommit,
  EpochCut,
  Reference,
} from '../../../wire/index.ts';
import {
  hasRecord,
  KIND_DATA,
  KIND_NOOP,
  KIND_PATCH,
  KIND_REFERENCE,
  KIND_RUN,
  KIND_ZERO,
} from '../../../wire/index.ts';
import { protocolBreach, ReplicateError } from '../errors.ts';
import { EPOCH_PIECES_MAX } from '../limits.ts';
import type { Journal } from './journal.ts';
import type { RecordPlace } from './journal-record.ts';
import { type Content, type Piece, sorted, ZERO } from './pieces.ts';

/** What came for an epoch, by how it came; in plain bytes but for `frameBytes`. */
export type Tally = {
  dataBytes: number;
  patchedBytes: number;
  knownBytes: number;
  zeroBytes: number;
  /** The frames in which data and patches came. */
  frameBytes: number;
};

export class Attempt {
  readonly cut: EpochCut;
  readonly tally: Tally = {
    ...{ dataBytes: 0, patchedBytes: 0, knownBytes: 0, zeroBytes: 0, frameBytes: 0 },
  };
  readonly #sizeBytes: number;
  readonly #pieces: Piece[] = [];
  #sorted: readonly Piece[] | undefined;
  messageCount = 0;
  recordCount = 0;
  /** What is being verified, or written. */
  pending = 0;
  /** Something of it could not be taken: it can only be given up. */
  failure: FerryError | undefined;

  constructor(cut: EpochCut, sizeBytes: number) {
    this.cut = cut;
    this.#sizeBytes = sizeBytes;
  }

  /** Takes a data message that is in the journal; its frame's records stand behind each other. */
  addData({ entries }: BlockData, journal: Journal, place: RecordPlace): void {
    let skipBytes = 0;
    const section: Content = { kind: 'section', journal, place };
    for (const { kind, offsetBytes, lengthBytes } of entries) {
      if (kind === KIND_NOOP) continue;
      const isZero = kind === KIND_ZERO;
      this.#add({
        ...{ offsetBytes, lengthBytes, content: isZero ? ZERO : section },
        skipBytes: isZero ? 0 : skipBytes,
      });
      if (hasRecord(kind)) skipBytes += lengthBytes;
    }
    this.messageCount += 1;
    this.recordCount += entries.length;
  }

  /** Takes references and the content that each one was found to be. */
  addReferences({ references }: BlockReference, contents: readonly Placed[]): void {
    for (const [index, { offsetBytes, lengthBytes }] of references.entries()) {
      this.#add({ offsetBytes, lengthBytes, ...contents[index]! });
      this.tally.knownBytes += lengthBytes;
    }
    this.messageCount += 1;
    this.recordCount += references.length;
  }

  /** Whether all that the commit counts is here. REPLICATE_PROTOCOL if there is more. */
  isComplete({ messageCount, recordCount }: EpochCommit): boolean {
    if (this.messageCount < messageCount || this.pending > 0) return false;
    if (this.messageCount > messageCount || this.recordCount !== recordCount) {
      const came = `${this.messageCount} messages with ${this.recordCount} records`;
      throw protocolBreach(`${came} came where ${messageCount} with ${recordCount} were sent`);
    }
    return true;
  }

  /** Its pieces in order. REPLICATE_PROTOCOL if two of them claim the same bytes. */
  pieces(): readonly Piece[] {
    if (this.#sorted?.length !== this.#pieces.length) this.#sorted = sorted(this.#pieces);
    if (this.#sorted === undefined) throw protocolBreach('two records of an epoch overlap');
    return this.#sorted;
  }

  /** REPLICATE_PROTOCOL if a range of it lies outside the volume. */
  check(ranges: readonly (Pick<Reference, 'offsetBytes' | 'lengthBytes'> & { kind?: number })[]) {
    for (const { offsetBytes, lengthBytes, kind } of ranges) {
      if (kind === KIND_REFERENCE) throw protocolBreach('a reference among data');
      if (offsetBytes + lengthBytes <= this.#sizeBytes) continue;
      const where = `${lengthBytes} bytes at ${offsetBytes}`;
      throw protocolBreach(`${where} pass the end of the volume, ${this.#sizeBytes}`);
    }
  }

  /** Of a message as it came, before patches are made whole. */
  count({ entries, frame }: BlockData): void {
    const { tally } = this;
    for (const { kind, lengthBytes } of entries) {
      if (kind === KIND_ZERO) tally.zeroBytes += lengthBytes;
      else if (kind === KIND_PATCH || kind === KIND_RUN) tally.patchedBytes += lengthBytes;
      else if (kind === KIND_DATA) tally.dataBytes += lengthBytes;
    }
    tally.frameBytes += frame.byteLength;
  }

  /** What its agent said that it has changed, and is not here yet. */
  get missingBytes(): number {
    const { dataBytes, patchedBytes, knownBytes, zeroBytes } = this.tally;
    const here = dataBytes + patchedBytes + knownBytes + zeroBytes;
    return Math.max(0, this.cut.changedBytes - here);
  }

  fail(error: unknown): void {
    if (error instanceof FerryError) this.failure ??= error;
    else throw error;
  }

  #add(piece: Piece): void {
    if (this.#pieces.length >= EPOCH_PIECES_MAX) {
      throw new ReplicateError('REPLICATE_LIMIT', `an epoch has over ${EPOCH_PIECES_MAX} pieces`, {
        hint: 'Replicate in shorter intervals.',
      });
    }
    this.#pieces.push(piece);
  }
}

export type Placed = Pick<Piece, 'content' | 'skipBytes'>;
