/** Sends an epoch's content: zero test, hashes, offers, then references, patches and data. */
import { type CodecPool, type FileName, isZero } from '../../../codec/index.ts';
import {
  type Extent,
  equalBytes,
  FerryError,
  mapOrdered,
  SHA256_BYTES,
  type Turns,
} from '../../../core/index.ts';
import type { Answer, Device } from '../../../device/index.ts';
import {
  BLOCK_DATA,
  BLOCK_REFERENCE,
  BLOCKS,
  type Entry,
  encodeBlockData,
  encodeBlockReference,
  KIND_DATA,
  KIND_PATCH,
  KIND_PLACED_PATCH,
  KIND_ZERO,
  PLACES,
  type Place,
  PRIORITY_BACKGROUND,
  PRIORITY_DIRTY,
  type Reference,
  type SendOptions,
} from '../../../wire/index.ts';
import { messageOf } from '../frames.ts';
import {
  OFFER_BYTES,
  OFFER_FROM_BYTES,
  SMALL_EPOCH_BYTES,
  SMALL_WINDOW_BYTES,
  WINDOW_BYTES,
  WINDOWS_IN_FLIGHT,
} from '../limits.ts';
import { DigestBuilder } from './digest-builder.ts';
import { blockCount, findKnownBlocks } from './known-blocks.ts';
import { type Below, PlacedPatches } from './placed-patches.ts';
import type { RemoteVolume } from './remote-volume.ts';
import {
  type OldBytes,
  type Packed,
  type PackedPiece,
  type Piece,
  WindowMemory,
} from './window-memory.ts';
import { changedWindows, comparedWindows, type Run, runsOf, type Window } from './windows.ts';

export type EpochRequest = {
  /** The volume as it was at the cut: read once, and not after the epoch has ended. */
  readonly device: Device;
  /** Ascending, without overlap; or the whole of both sides is compared. */
  readonly changed: Iterable<Extent> | 'compare';
  readonly changedBytes?: number;
  /** Of what is told to have changed much may not have: nobody knew better after a kill. */
  readonly isInDoubt?: boolean | undefined;
  /** When it was cut, for people. */
  readonly wallMs: number;
  /** Names the cut, for the time when the agent has forgotten it. */
  readonly mark?: string | undefined;
  /** What the provider has: a patch may then do. */
  readonly oldBytes?: OldBytes | undefined;
  /** Told of each of them that a patch was tried against. */
  readonly onOldBytes?: ((wasOfUse: boolean) => void) | undefined;
  /** Others are served by this thread meanwhile. */
  readonly turns?: Turns | undefined;
  /** A thread of the pool may read it instead. */
  readonly elsewhere?: ReadElsewhere | undefined;
  /** Where hashes, patches and frames are made; in place without it. */
  readonly pool?: CodecPool | undefined;
  /** What resembles the content may then be stood on, if the provider knows how. */
  readonly below?: Below | undefined;
  /** Tests make it small. */
  readonly windowBytes?: number | undefined;
  readonly onProgress?: (progress: { doneBytes: number; totalBytes: number }) => void;
};

/** The device's content as it is by now, and what makes that what it was at the cut. */
export type ReadElsewhere = {
  readonly file: FileName;
  /** What to wait for before it is read. */
  ready(lengthBytes: number, offsetBytes: number): Answer;
  amend(target: Uint8Array, offsetBytes: number): Answer;
};

export type EpochReport = {
  readonly messageCount: number;
  readonly recordCount: number;
  /** Plain bytes: sent as they are or as patches, known there, zero, unchanged. */
  readonly dataBytes: number;
  readonly knownBytes: number;
  readonly zeroBytes: number;
  readonly sameBytes: number;
  /** Bodies of messages. */
  readonly sentBytes: number;
  /** Of the volume; zeroes if not all of it was read. */
  readonly digest: Uint8Array;
};

export async function sendContent(
  volume: RemoteVolume,
  epoch: number,
  request: EpochRequest,
  signal: AbortSignal,
): Promise<EpochReport> {
  const { changed, device } = request;
  const isComparison = changed === 'compare';
  const isSmall = !isComparison && (request.changedBytes ?? Infinity) <= SMALL_EPOCH_BYTES;
  const { windowBytes = isSmall ? SMALL_WINDOW_BYTES : WINDOW_BYTES } = request;
  const sender = new EpochSender(volume, epoch, request);
  const windows = isComparison ? comparedWindows(device) : changedWindows(changed, windowBytes);
  const digest = new DigestBuilder(device.sizeBytes);
  let doneBytes = 0;
  const send = (window: Window): Promise<Sent> => {
    signal.throwIfAborted();
    return sender.send(window);
  };
  const each = mapOrdered(windows, WINDOWS_IN_FLIGHT, (window) =>
    volume.agent.windows.run(() => send(window)),
  );
  for await (const { hashes, lengthBytes } of each) {
    if (hashes !== undefined) digest.add(hashes, lengthBytes);
    doneBytes += lengthBytes;
    const totalBytes = isComparison ? device.sizeBytes : (request.changedBytes ?? doneBytes);
    request.onProgress?.({ doneBytes, totalBytes });
  }
  await sender.finish();
  const whole = isComparison ? digest.finish() : new Uint8Array(SHA256_BYTES);
  return { ...sender.counts, digest: whole };
}

type Sent = {
  /** Of a compared window: SHA-256 of each chunk, undefined where it is all zero. */
  readonly hashes: readonly (Uint8Array | undefined)[] | undefined;
  readonly lengthBytes: number;
};

class EpochSender {
  readonly counts = {
    ...{ messageCount: 0, recordCount: 0, sentBytes: 0 },
    ...{ dataBytes: 0, knownBytes: 0, zeroBytes: 0, sameBytes: 0 },
  };
  readonly #volume: RemoteVolume;
  readonly #epoch: number;
  readonly #request: EpochRequest;
  readonly #isComparison: boolean;
  readonly #isOffered: (piece: Piece) => boolean;
  /** What a person may still wait for goes before what was never there. */
  readonly #priority: number;
  readonly #placed: PlacedPatches | undefined;
  /** Whether it pays to look for single blocks that the provider has. */
  readonly #looksForBlocks: boolean;

  constructor(volume: RemoteVolume, epoch: number, request: EpochRequest) {
    this.#volume = volume;
    this.#epoch = epoch;
    this.#request = request;
    this.#isComparison = request.changed === 'compare';
    this.#priority = this.#isComparison ? PRIORITY_BACKGROUND : PRIORITY_DIRTY;
    const pays = this.#isComparison || (request.changedBytes ?? 0) >= OFFER_FROM_BYTES;
    // What had come of an epoch that was given up lies there still, in whatever pieces.
    if (volume.wasInterrupted) this.#isOffered = () => true;
    else this.#isOffered = pays ? isWholeChunk : () => false;
    const { below, device, pool, turns } = request;
    const can = volume.agent.session.peerHello?.capabilities;
    const isDoubtful = volume.wasInterrupted || request.isInDoubt === true;
    this.#looksForBlocks = isDoubtful && !this.#isComparison && can?.includes(BLOCKS) === true;
    if (below !== undefined && !this.#isComparison && can?.includes(PLACES)) {
      const changedBytes = request.changedBytes ?? device.sizeBytes;
      this.#placed = new PlacedPatches({ ...below, device, pool, turns, changedBytes });
    }
  }

  /** All windows are sent. */
  async finish(): Promise<void> {
    await this.#placed?.merge();
  }

  async send(window: Window): Promise<Sent> {
    const theirs = this.#isComparison ? await this.#theirs(window) : undefined;
    const { extents, isEmpty } = window;
    const lengthBytes = extents.reduce((sum, extent) => sum + extent.lengthBytes, 0);
    if (isEmpty) {
      const { zeroes } = this.#split(extents.map(nothingAt), theirs);
      await this.#sendData(undefined, [], zeroes);
      return { hashes: extents.map(() => undefined), lengthBytes };
    }
    // After a failure its memory is left to the collector: a thread or the session may have it.
    const piecesMax = this.#looksForBlocks ? blockCount(extents) : extents.length;
    const held = new WindowMemory(window, this.#request.pool, piecesMax);
    await this.#read(window, held);
    if (this.#isComparison) await this.#learn(held);
    const hashes = await this.#sendRead(held, theirs);
    return { hashes, lengthBytes };
  }

  /** What the provider has, or will have: later epochs may stand on it. */
  async #learn(held: WindowMemory): Promise<void> {
    const { below, turns } = this.#request;
    for (const piece of below === undefined ? [] : held.pieces) {
      await turns?.next();
      below!.likeness.learn(held.contentOf(piece), piece.offsetBytes);
    }
  }

  /** Answers the hashes if it is a comparison. */
  async #sendRead(held: WindowMemory, theirs: Uint8Array | undefined): Promise<Sent['hashes']> {
    let { pieces } = held;
    let zeroes: readonly Extent[] = [];
    let hashes: Sent['hashes'];
    if (theirs !== undefined || pieces.some(this.#isOffered)) {
      await this.#request.turns?.next();
      await held.hash();
      if (theirs !== undefined) hashes = pieces.map(({ hash }) => knownHash(hash)?.slice());
      ({ pieces, zeroes } = this.#split(pieces, theirs));
      pieces = await this.#refer(pieces);
    }
    if (this.#looksForBlocks) pieces = await this.#withoutKnownBlocks(held, pieces);
    await this.#sendData(held, pieces, zeroes);
    return hashes;
  }

  /** What the provider does not have in its place. */
  #split<P extends Hashed>(all: readonly P[], theirs: Uint8Array | undefined) {
    const pieces: P[] = [];
    const zeroes: P[] = [];
    for (const [index, piece] of all.entries()) {
      const their = theirs?.subarray(index * SHA256_BYTES, (index + 1) * SHA256_BYTES);
      if (their !== undefined && equalBytes(piece.hash, their)) {
        this.counts.sameBytes += piece.lengthBytes;
      } else if (isZero(piece.hash)) zeroes.push(piece);
      else pieces.push(piece);
    }
    return { pieces, zeroes };
  }

  #theirs({ extents }: Window): Promise<Uint8Array> {
    return this.#volume.hashes(extents[0]!.offsetBytes, extents.length);
  }

  /** Neighbours are read in one call. */
  async #read({ extents }: Window, held: WindowMemory): Promise<void> {
    const { device, turns } = this.#request;
    const runs = [...runsOf(extents)];
    if (await this.#readElsewhere(runs, held)) return;
    for (const { offsetBytes, lengthBytes, at } of runs) {
      await turns?.next();
      await device.read(held.content.subarray(at, at + lengthBytes), offsetBytes);
    }
  }

  /** False: nothing is known to be read, and whoever reads here will be told what is wrong. */
  async #readElsewhere(runs: readonly Run[], held: WindowMemory): Promise<boolean> {
    const { elsewhere, turns } = this.#request;
    if (elsewhere === undefined) return false;
    for (const { lengthBytes, offsetBytes } of runs) {
      const wait = elsewhere.ready(lengthBytes, offsetBytes);
      if (wait !== undefined) await wait;
    }
    try {
      const reading = held.readFrom(elsewhere.file, runs);
      if (reading === undefined) return false;
      await reading;
    } catch (error) {
      if (!(error instanceof FerryError)) throw error;
      return false;
    }
    await turns?.next();
    for (const { offsetBytes, lengthBytes, at } of runs) {
      const wait = elsewhere.amend(held.content.subarray(at, at + lengthBytes), offsetBytes);
      if (wait !== undefined) await wait;
    }
    return true;
  }

  /** Sends references for what the provider knows, and answers with the rest. */
  async #refer(pieces: readonly Piece[]): Promise<readonly Piece[]> {
    const known = await this.#volume.alreadyThere(pieces.filter(this.#isOffered));
    await this.#postReferences([...known]);
    return pieces.filter((piece) => !known.has(piece));
  }

  async #withoutKnownBlocks(held: WindowMemory, all: readonly Piece[]): Promise<readonly Piece[]> {
    const { isInDoubt = false, turns } = this.#request;
    const found = await findKnownBlocks(this.#volume, held, all, { isInDoubt, turns });
    this.counts.sameBytes += found.sameBytes;
    await this.#postReferences(found.references);
    return found.pieces;
  }

  async #postReferences(references: readonly Reference[]): Promise<void> {
    if (references.length === 0) return;
    const head = { volume: this.#volume.facts.number, epoch: this.#epoch, request: 0 };
    for (const { lengthBytes } of references) this.counts.knownBytes += lengthBytes;
    const parts = [encodeBlockReference({ ...head, references })];
    await this.#post(BLOCK_REFERENCE, { parts }, references.length);
  }

  async #sendData(
    held: WindowMemory | undefined,
    pieces: readonly Piece[],
    zeroes: readonly Extent[],
  ): Promise<void> {
    const entries = zeroes.map((extent) => entryOf(KIND_ZERO, extent, undefined));
    await this.#request.turns?.next();
    if (pieces.length === 0) {
      await this.#postData(entries, undefined);
      held?.giveBack();
      return;
    }
    const likes = await this.#placed?.find(held!, pieces, this.counts.recordCount);
    try {
      const packed = await held!.pack(pieces, this.#request.oldBytes, likes);
      likes?.packed(packed.pieces);
      for (const [at, piece] of packed.pieces.entries()) {
        if (piece.isPatch !== undefined) this.#request.onOldBytes?.(piece.isPatch);
        entries.push(packedEntry(piece, likes?.places[at]));
      }
      await likes?.before;
      await this.#request.turns?.next(); // It encrypts all of it in one go.
      await this.#postData(entries, packed, held!.giveBack);
    } finally {
      likes?.over();
    }
  }

  /** Some pieces may have turned out to be zero. */
  async #postData(
    entries: readonly Entry[],
    packed: Packed | undefined,
    giveBack = () => {},
  ): Promise<void> {
    for (const { kind, lengthBytes } of entries) {
      if (kind === KIND_ZERO) this.counts.zeroBytes += lengthBytes;
      else this.counts.dataBytes += lengthBytes;
    }
    const frame = packed?.frame ?? new Uint8Array(0);
    if (entries.length > 0) {
      const head = { volume: this.#volume.facts.number, epoch: this.#epoch, request: 0 };
      const message = messageOf(encodeBlockData({ ...head, entries, frame }), packed?.withHead);
      const onAcknowledged = packed?.isInMemory ? giveBack : undefined;
      await this.#post(BLOCK_DATA, { ...message, onAcknowledged }, entries.length);
    }
    if (packed?.isInMemory !== true) giveBack();
  }

  async #post(
    type: number,
    message: Pick<SendOptions, 'parts' | 'lastChecksum' | 'hasRoom' | 'onAcknowledged'>,
    recordCount: number,
  ): Promise<void> {
    this.counts.messageCount += 1;
    this.counts.recordCount += recordCount;
    this.counts.sentBytes += message.parts.reduce((sum, part) => sum + part.byteLength, 0);
    await this.#volume.agent.send({ ...message, type, priority: this.#priority });
  }
}

type Hashed = Extent & Pick<Piece, 'hash'>;

const NO_HASH = new Uint8Array(SHA256_BYTES);

function nothingAt(extent: Extent): Hashed {
  return { ...extent, hash: NO_HASH };
}

/** Undefined where the content is all zero. */
function knownHash(hash: Uint8Array): Uint8Array | undefined {
  return isZero(hash) ? undefined : hash;
}

function entryOf(
  kind: number,
  { offsetBytes, lengthBytes }: Extent,
  hash: Uint8Array | undefined,
): Entry {
  return { kind, offsetBytes, lengthBytes, hash, blockClass: 0, importance: 0 };
}

function packedEntry(piece: PackedPiece, places: readonly Place[] | undefined): Entry {
  const { hash, isZero: isEmpty, isPatch, isPlaced } = piece;
  if (isEmpty) return entryOf(KIND_ZERO, piece, undefined);
  if (isPlaced) return { ...entryOf(KIND_PLACED_PATCH, piece, hash), places: places! };
  return entryOf(isPatch === true ? KIND_PATCH : KIND_DATA, piece, hash);
}

function isWholeChunk({ offsetBytes, lengthBytes }: Extent): boolean {
  return offsetBytes % OFFER_BYTES === 0 && lengthBytes === OFFER_BYTES;
}
