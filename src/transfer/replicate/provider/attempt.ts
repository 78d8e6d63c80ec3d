/** Attempt: an epoch on its way, from its EPOCH_CUT to its EPOCH_COMMIT. */
import { type Clock, FerryError } from '../../../core/index.ts';
import type {
  BlockData,
  BlockReference,
  EpochCommit,
  EpochCut,
  Place,
  Reference,
} from '../../../wire/index.ts';
import {
  hasRecord,
  KIND_DATA,
  KIND_NOOP,
  KIND_PATCH,
  KIND_PLACED_PATCH,
  KIND_REFERENCE,
  KIND_RUN,
  KIND_ZERO,
} from '../../../wire/index.ts';
import { protocolBreach, ReplicateError } from '../errors.ts';
import { EPOCH_PIECES_MAX, PLACE_WAIT_MS, PLACED_PIECES_MAX } from '../limits.ts';
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
  /** By where they begin; made when a patch first stands on one of them. */
  #placed: Map<number, Piece> | undefined;
  /** Settles when something comes, or nothing will any more; there while somebody waits. */
  #next: PromiseWithResolvers<void> | undefined;
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

  /**
   * What lies at a place of this epoch, once that has come: lanes may let it overtake what stands
   * on it. REPLICATE_HASH if it does not come, or not as one extent.
   */
  async pieceAt(place: Place, clock: Clock, signal?: AbortSignal): Promise<Piece> {
    const { offsetBytes, lengthBytes } = place;
    const missing = () => this.fail(placeMissing(offsetBytes, lengthBytes));
    const timer = clock.after(PLACE_WAIT_MS, missing);
    const giveUp = () => this.giveUp();
    signal?.addEventListener('abort', giveUp, { once: true });
    try {
      if (signal?.aborted === true) giveUp();
      for (;;) {
        if (this.failure !== undefined) throw this.failure;
        const piece = this.#place(offsetBytes);
        if (piece?.lengthBytes === lengthBytes) return piece;
        if (piece !== undefined) missing();
        else await this.#come();
      }
    } finally {
      timer.cancel();
      signal?.removeEventListener('abort', giveUp);
    }
  }

  /** Nothing more of it will come: nobody waits any more. */
  giveUp(): void {
    this.fail(givenUp(this.cut.epoch));
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
  check(ranges: readonly Range[]) {
    for (const { offsetBytes, lengthBytes, kind, places } of ranges) {
      if (places !== undefined) this.check(places);
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
      else if (isPatch(kind)) tally.patchedBytes += lengthBytes;
      else if (kind === KIND_DATA) tally.dataBytes += lengthBytes;
    }
    tally.frameBytes += frame.byteLength;
  }

  /** Each as it came. */
  get came(): readonly Piece[] {
    return this.#pieces;
  }

  /** What its agent said that it has changed, and is not here yet. */
  get missingBytes(): number {
    const { dataBytes, patchedBytes, knownBytes, zeroBytes } = this.tally;
    const here = dataBytes + patchedBytes + knownBytes + zeroBytes;
    return Math.max(0, this.cut.changedBytes - here);
  }

  fail(error: unknown): void {
    if (!(error instanceof FerryError)) throw error;
    this.failure ??= error;
    this.#wake();
  }

  #wake(): void {
    this.#next?.resolve();
    this.#next = undefined;
  }

  #come(): Promise<void> {
    this.#next ??= Promise.withResolvers();
    return this.#next.promise;
  }

  #place(offsetBytes: number): Piece | undefined {
    if (this.#pieces.length > PLACED_PIECES_MAX) {
      const message = `a patch stands on one of over ${PLACED_PIECES_MAX} pieces`;
      throw new ReplicateError('REPLICATE_HASH', message, { hint: WHOLE_HINT });
    }
    this.#placed ??= new Map(this.#pieces.map((piece) => [piece.offsetBytes, piece]));
    return this.#placed.get(offsetBytes);
  }

  #add(piece: Piece): void {
    if (this.#pieces.length >= EPOCH_PIECES_MAX) {
      throw new ReplicateError('REPLICATE_LIMIT', `an epoch has over ${EPOCH_PIECES_MAX} pieces`, {
        hint: 'Replicate in shorter intervals.',
      });
    }
    this.#pieces.push(piece);
    this.#placed?.set(piece.offsetBytes, piece);
    this.#wake();
  }
}

const WHOLE_HINT = 'Nothing was applied; the agent sends it whole.';

type Range = Pick<Reference, 'offsetBytes' | 'lengthBytes'> & {
  readonly kind?: number;
  readonly places?: readonly Place[];
};

function isPatch(kind: number): boolean {
  return kind === KIND_PATCH || kind === KIND_PLACED_PATCH || kind === KIND_RUN;
}

function placeMissing(offsetBytes: number, lengthBytes: number): ReplicateError {
  const where = `${lengthBytes} bytes at ${offsetBytes}`;
  return new ReplicateError('REPLICATE_HASH', `a patch stands on ${where}, which did not come`, {
    hint: WHOLE_HINT,
  });
}

function givenUp(epoch: number): ReplicateError {
  return new ReplicateError('REPLICATE_CLOSED', `nothing more of epoch ${epoch} will come`, {
    hint: 'Connect again.',
  });
}

export type Placed = Pick<Piece, 'content' | 'skipBytes'>;
