/** Sends an epoch's content: zero test, hashes, offers, then references, patches and data. */
import { encodePatch, type FrameInput, isZero } from '../../../codec/index.ts';
import {
  type Extent,
  ExtentSet,
  equalBytes,
  mapOrdered,
  SHA256_BYTES,
  sha256,
  type Turns,
} from '../../../core/index.ts';
import type { Device } from '../../../device/index.ts';
import {
  BLOCK_DATA,
  BLOCK_REFERENCE,
  type Entry,
  encodeBlockData,
  encodeBlockReference,
  KIND_DATA,
  KIND_PATCH,
  KIND_ZERO,
  PRIORITY_BACKGROUND,
  PRIORITY_DIRTY,
  type Reference,
} from '../../../wire/index.ts';
import { lendFrame } from '../frames.ts';
import {
  OFFER_BYTES,
  OFFER_FROM_BYTES,
  SMALL_EPOCH_BYTES,
  SMALL_WINDOW_BYTES,
  WINDOW_BYTES,
  WINDOWS_IN_FLIGHT,
} from '../limits.ts';
import { memory } from '../memory.ts';
import { referenceOf } from '../references.ts';
import { DigestBuilder } from './digest-builder.ts';
import type { RemoteVolume } from './remote-volume.ts';
import { bytesOf, changedWindows, comparedWindows, type Window } from './windows.ts';

export type EpochRequest = {
  /** The volume as it was at the cut: read once, and not after the epoch has ended. */
  readonly device: Device;
  /** Ascending, without overlap; or the whole of both sides is compared. */
  readonly changed: Iterable<Extent> | 'compare';
  readonly changedBytes?: number;
  /** When it was cut, for people. */
  readonly wallMs: number;
  /** Names the cut, for the time when the agent has forgotten it. */
  readonly mark?: string | undefined;
  /**
   * What the provider has of a range, where that is known: a patch may then do. Valid until the
   * next call.
   */
  readonly oldBytes?:
    | ((offsetBytes: number, lengthBytes: number) => Uint8Array | undefined)
    | undefined;
  /** Told of each of them that a patch was tried against. */
  readonly onOldBytes?: ((wasOfUse: boolean) => void) | undefined;
  /** Others are served by this thread meanwhile. */
  readonly turns?: Turns | undefined;
  readonly onProgress?: (progress: { doneBytes: number; totalBytes: number }) => void;
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

/** A patch is taken if it has at most this share of the bytes it stands for. */
const PATCH_SHARE_MAX = 0.5;

/** What is compared of old and new bytes before a patch is tried: 32 of each 256 bytes. */
const LIKENESS_STEP_BYTES = 256;
const LIKENESS_BYTES = 32;

type Piece = Extent & { readonly bytes: Uint8Array; readonly hash: Uint8Array };

export async function sendContent(
  volume: RemoteVolume,
  epoch: number,
  request: EpochRequest,
  signal: AbortSignal,
): Promise<EpochReport> {
  const { changed, device } = request;
  const isComparison = changed === 'compare';
  const isSmall = !isComparison && (request.changedBytes ?? Infinity) <= SMALL_EPOCH_BYTES;
  const windowBytes = isSmall ? SMALL_WINDOW_BYTES : WINDOW_BYTES;
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
    if (isComparison) digest.add(hashes, lengthBytes);
    doneBytes += lengthBytes;
    const totalBytes = isComparison ? device.sizeBytes : (request.changedBytes ?? doneBytes);
    request.onProgress?.({ doneBytes, totalBytes });
  }
  const whole = isComparison ? digest.finish() : new Uint8Array(SHA256_BYTES);
  return { ...sender.counts, digest: whole };
}

/** `hashes` of a compared window: SHA-256 of each chunk, undefined where it is all zero. */
type Sent = {
  readonly hashes: readonly (Uint8Array | undefined)[];
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
  }

  async send(window: Window): Promise<Sent> {
    const theirs = this.#isComparison ? await this.#theirs(window) : undefined;
    if (window.isEmpty) return await this.#sendRead(window, undefined, theirs);
    const bytes = memory.take(bytesOf(window));
    try {
      await this.#read(window, bytes);
      return await this.#sendRead(window, bytes, theirs);
    } finally {
      memory.giveBack(bytes);
    }
  }

  /** `all` holds the extents one after the other; nothing of it is used any more at the end. */
  async #sendRead(
    { extents }: Window,
    all: Uint8Array | undefined,
    theirs: Uint8Array | undefined,
  ): Promise<Sent> {
    const zeroes: Extent[] = [];
    const pieces: Piece[] = [];
    const hashes: (Uint8Array | undefined)[] = [];
    let at = 0;
    for (const [index, extent] of extents.entries()) {
      await this.#request.turns?.next();
      const bytes = all?.subarray(at, at + extent.lengthBytes);
      at += extent.lengthBytes;
      const hash = bytes === undefined || isZero(bytes) ? undefined : sha256(bytes);
      hashes.push(hash);
      const their = theirs?.subarray(index * SHA256_BYTES, (index + 1) * SHA256_BYTES);
      if (their !== undefined && isSame(hash, their)) this.counts.sameBytes += extent.lengthBytes;
      else if (hash === undefined) zeroes.push(extent);
      else pieces.push({ ...extent, bytes: bytes!, hash });
    }
    const missing = await this.#refer(pieces);
    if (missing.length + zeroes.length > 0) await this.#sendData(missing, zeroes);
    return { hashes, lengthBytes: at };
  }

  #theirs({ extents }: Window): Promise<Uint8Array> {
    return this.#volume.hashes(extents[0]!.offsetBytes, extents.length);
  }

  /** Neighbours are read in one call. */
  async #read({ extents }: Window, bytes: Uint8Array): Promise<void> {
    const { device } = this.#request;
    let at = 0;
    for (const { offsetBytes, lengthBytes } of new ExtentSet(extents)) {
      await this.#request.turns?.next();
      await device.read(bytes.subarray(at, at + lengthBytes), offsetBytes);
      at += lengthBytes;
    }
  }

  /** Sends references for what the provider knows, and answers with the rest. */
  async #refer(pieces: readonly Piece[]): Promise<readonly Piece[]> {
    const whole = pieces.filter(this.#isOffered);
    if (whole.length === 0) return pieces;
    const { agent, facts } = this.#volume;
    const hashes = Buffer.concat(whole.map(({ hash }) => hash));
    const isWanted = await agent.offer(facts.number, hashes);
    const known = new Set(whole.filter((_, index) => !isWanted(index)));
    if (known.size === 0) return pieces;
    const references: Reference[] = [...known].map(({ offsetBytes, lengthBytes, hash }) => ({
      ...{ offsetBytes, lengthBytes, hash },
    }));
    const head = { volume: facts.number, epoch: this.#epoch, request: 0 };
    for (const { lengthBytes } of references) this.counts.knownBytes += lengthBytes;
    const parts = [encodeBlockReference({ ...head, references })];
    await this.#post(BLOCK_REFERENCE, parts, references.length);
    return pieces.filter((piece) => !known.has(piece));
  }

  async #sendData(pieces: readonly Piece[], zeroes: readonly Extent[]): Promise<void> {
    const inputs: FrameInput[] = [];
    const entries: Entry[] = zeroes.map((extent) => entryOf(KIND_ZERO, extent, undefined));
    for (const piece of pieces) {
      await this.#request.turns?.next();
      const patch = this.#patch(piece);
      inputs.push(patch ?? { kind: 'plain', bytes: piece.bytes });
      entries.push(entryOf(patch === undefined ? KIND_DATA : KIND_PATCH, piece, piece.hash));
      this.counts.dataBytes += piece.lengthBytes;
    }
    for (const { lengthBytes } of zeroes) this.counts.zeroBytes += lengthBytes;
    const head = { volume: this.#volume.facts.number, epoch: this.#epoch, request: 0 };
    await this.#request.turns?.next();
    const frame = lendFrame(inputs);
    const parts = encodeBlockData({ ...head, entries, frame: frame.bytes });
    await this.#post(BLOCK_DATA, parts, entries.length, frame.giveBack);
  }

  #patch({ offsetBytes, lengthBytes, bytes }: Piece): FrameInput | undefined {
    const { oldBytes, onOldBytes } = this.#request;
    const old = oldBytes?.(offsetBytes, lengthBytes);
    if (old?.byteLength !== lengthBytes) return undefined;
    const patch = looksAlike(old, bytes) ? encodePatch(bytes, [old]) : undefined;
    const isOfUse = patch !== undefined && patch.byteLength <= lengthBytes * PATCH_SHARE_MAX;
    onOldBytes?.(isOfUse);
    if (!isOfUse) return undefined;
    return { kind: 'patch', rawBytes: lengthBytes, patch, parents: [referenceOf(old)] };
  }

  async #post(
    type: number,
    parts: readonly Uint8Array[],
    recordCount: number,
    onAcknowledged = () => {},
  ): Promise<void> {
    this.counts.messageCount += 1;
    this.counts.recordCount += recordCount;
    this.counts.sentBytes += parts.reduce((sum, part) => sum + part.byteLength, 0);
    await this.#volume.agent.send({ type, parts, priority: this.#priority, onAcknowledged });
  }
}

/** Where no place of the old bytes is as it was, a patch is hardly worth what trying it costs. */
function looksAlike(old: Uint8Array, bytes: Uint8Array): boolean {
  for (let at = 0; at < bytes.byteLength; at += LIKENESS_STEP_BYTES) {
    const end = at + LIKENESS_BYTES;
    if (equalBytes(old.subarray(at, end), bytes.subarray(at, end))) return true;
  }
  return false;
}

function entryOf(
  kind: number,
  { offsetBytes, lengthBytes }: Extent,
  hash: Uint8Array | undefined,
): Entry {
  return { kind, offsetBytes, lengthBytes, hash, blockClass: 0, importance: 0 };
}

function isWholeChunk({ offsetBytes, lengthBytes }: Extent): boolean {
  return offsetBytes % OFFER_BYTES === 0 && lengthBytes === OFFER_BYTES;
}

function isSame(hash: Uint8Array | undefined, their: Uint8Array): boolean {
  return hash === undefined ? isZero(their) : equalBytes(hash, their);
}
