/** The sending half of a UDP lane: pieces paced by rate control, lost ones sent again. */
import type { BufferPool } from '../buffers.ts';
import { protocolError } from '../errors.ts';
import { Fifo } from '../fifo.ts';
import { type Delivered, InFlight } from './in-flight.ts';
import type { LaneKeys } from './keys.ts';
import { SEAL_BYTES } from './keys.ts';
import { OutgoingFrame } from './outgoing-frame.ts';
import type { Run } from './packet-window.ts';
import {
  DATAGRAM_BYTES_MAX,
  KIND_PIECE,
  PIECE_AT,
  PIECE_BYTES,
  putPacketHeader,
  putPieceHeader,
  TAG_BYTES,
} from './packets.ts';
import { RateControl } from './rate-control.ts';

/** Packets of one call to the socket. */
const BURST_PACKETS_MAX = 64;
/**
 * Unused right to send is kept for so long: a timer that comes late must not cost rate. Where the
 * process is woken later than that, as long as the path's queue takes what then leaves at once.
 */
const BURST_MS = 20;
const BURST_MS_MAX = 60;
const BURST_GROWTH = 1.1;
const BURST_LOSS_MAX = 0.02;
const BURST_BYTES_MIN = 16 * DATAGRAM_BYTES_MAX;
const OVERHEAD_BYTES = 28;
/** Packets that are sent again when nothing was heard; the rest follows once something is. */
const PROBE_PACKETS = 2;
const PROBE_BYTES = PROBE_PACKETS * DATAGRAM_BYTES_MAX;
const PROBE_MS_MIN = 30;
const PROBE_MS_MAX = 2_000;
/** The pauses between probes grow to this, unless the path itself takes longer. */
const PROBE_PAUSE_MS_MAX = 500;

export type SenderOptions = {
  readonly lane: number;
  readonly keys: LaneKeys;
  readonly pool: BufferPool;
  /** The parts of the next message, or undefined if there is nothing to send. */
  next(): readonly Uint8Array[] | undefined;
  transmit(packets: readonly Uint8Array[], count: number): void;
};

export class Sender {
  readonly rate = new RateControl();
  readonly #options: SenderOptions;
  readonly #inFlight = new InFlight();
  readonly #packets: Uint8Array[];
  readonly #views: Uint8Array[] = [];
  readonly #lost = new Fifo<{ frame: OutgoingFrame; piece: number }>();
  #current: OutgoingFrame | undefined;
  #frameNumber = 0;
  #deliveredBytes = 0;
  #deliveredMs = 0;
  #spanStartMs = 0;
  #roundEndBytes = 0;
  /** There was nothing to send. Until so much is delivered, samples tell less than the path can. */
  #isDry = true;
  #limitedUntilBytes = 0;
  /** Only the pace keeps it from sending more. */
  #isPaced = false;
  /** Bytes that may leave now; grows with time. */
  #allowedBytes = 0;
  #allowedAtMs = 0;
  #burstMs = BURST_MS;
  #reorderMs = 1;
  #probes = 0;
  #waitingSinceMs = 0;
  #heardMs = 0;
  #largestAcked = 0;
  retransmittedPackets = 0;
  sentPackets = 0;

  constructor(options: SenderOptions) {
    this.#options = options;
    this.#packets = Array.from(
      { length: BURST_PACKETS_MAX },
      () => new Uint8Array(DATAGRAM_BYTES_MAX),
    );
  }

  get inFlightCount(): number {
    return this.#inFlight.count;
  }

  get nextNumber(): number {
    return this.#inFlight.nextNumber;
  }

  /** When the peer last acknowledged something, or this side began to wait for that. */
  get heardMs(): number {
    return this.#heardMs;
  }

  /** For a packet that needs no acknowledgement. */
  takeNumber(): number {
    return this.#inFlight.skip();
  }

  /** Sends what may leave now. Answers when to come again: in so many ms, or undefined. */
  pump(nowMs: number): number | undefined {
    this.#accrue(nowMs);
    for (;;) {
      let count = 0;
      let bytes = 0;
      while (count < BURST_PACKETS_MAX && this.#maySend(bytes)) {
        const lengthBytes = this.#fill(count, nowMs);
        if (lengthBytes === 0) break;
        this.#views[count] = this.#packets[count]!.subarray(0, lengthBytes);
        count += 1;
        bytes += lengthBytes + OVERHEAD_BYTES;
      }
      if (count === 0) break;
      this.#allowedBytes -= bytes;
      this.sentPackets += count;
      this.#options.transmit(this.#views, count);
    }
    this.#isPaced = this.#allowedBytes <= 0;
    return this.#waitMs(nowMs);
  }

  #accrue(nowMs: number): void {
    const pace = this.rate.pacingBytesPerMs;
    const gained = (nowMs - this.#allowedAtMs) * pace;
    const most = Math.max(pace * this.#burstMs, BURST_BYTES_MIN);
    if (this.#isPaced && this.#allowedBytes + gained > most) this.#wokenLate();
    this.#allowedBytes = Math.min(most, this.#allowedBytes + gained);
    this.#allowedAtMs = nowMs;
  }

  #maySend(bytes: number): boolean {
    if (this.#allowedBytes - bytes <= 0 || !this.#inFlight.hasRoom) return false;
    return this.#inFlight.bytes < (this.#probes > 1 ? PROBE_BYTES : this.rate.windowBytes);
  }

  /** Writes the next packet into its place; 0 if there is none. */
  #fill(index: number, nowMs: number): number {
    for (;;) {
      const again = this.#lost.shift();
      if (again === undefined) break;
      if (again.frame.hasArrived(again.piece)) continue;
      this.retransmittedPackets += 1;
      return this.#fillPiece(index, again.frame, again.piece, nowMs);
    }
    this.#current ??= this.#seal();
    const frame = this.#current;
    if (frame === undefined) {
      this.#isDry = true;
      this.#limitSamples();
      return 0;
    }
    const piece = frame.nextPiece;
    frame.nextPiece += 1;
    if (frame.nextPiece === frame.pieceCount) this.#current = undefined;
    return this.#fillPiece(index, frame, piece, nowMs);
  }

  /** It sends less than the pace allows, which says nothing of the path. */
  #wokenLate(): void {
    this.#limitSamples();
    const isTaken = this.rate.lossShare <= BURST_LOSS_MAX;
    const burstMs = isTaken ? this.#burstMs * BURST_GROWTH : this.#burstMs / 2;
    this.#burstMs = Math.min(BURST_MS_MAX, Math.max(BURST_MS, burstMs));
  }

  #limitSamples(): void {
    this.#limitedUntilBytes = this.#deliveredBytes + this.#inFlight.bytes + 1;
  }

  #seal(): OutgoingFrame | undefined {
    const parts = this.#options.next();
    if (parts === undefined) return undefined;
    this.#isDry = false;
    let lengthBytes = SEAL_BYTES;
    for (const part of parts) lengthBytes += part.byteLength;
    const buffer = this.#options.pool.take(lengthBytes);
    this.#frameNumber += 1;
    this.#options.keys.seal.seal(this.#frameNumber, parts, buffer);
    return new OutgoingFrame(this.#frameNumber, buffer, lengthBytes);
  }

  #fillPiece(index: number, frame: OutgoingFrame, piece: number, nowMs: number): number {
    const packet = this.#packets[index]!;
    const offset = piece * PIECE_BYTES;
    const end = Math.min(frame.lengthBytes, offset + PIECE_BYTES);
    const lengthBytes = PIECE_AT + (end - offset) + TAG_BYTES;
    if (this.#inFlight.count === 0) {
      // Unless everything was just given up, this is where the waiting begins.
      if (this.#probes === 0) this.#heardMs = nowMs;
      this.#waitingSinceMs = nowMs;
      this.#deliveredMs = nowMs;
      this.#spanStartMs = nowMs;
    }
    const number = this.#inFlight.send(frame, piece, lengthBytes + OVERHEAD_BYTES, nowMs, {
      bytes: this.#deliveredBytes,
      ms: this.#deliveredMs,
      spanStartMs: this.#spanStartMs,
      isLimited: this.#deliveredBytes < this.#limitedUntilBytes,
    });
    putPacketHeader(packet, KIND_PIECE, this.#options.lane, number);
    putPieceHeader(packet, frame.number, frame.lengthBytes, offset);
    packet.set(frame.buffer.subarray(offset, end), PIECE_AT);
    this.#options.keys.tag.put(packet, lengthBytes - TAG_BYTES);
    return lengthBytes;
  }

  /** Takes an ACK in; `delayMs` is what the peer held it back. */
  onAck(runs: readonly Run[], delayMs: number, nowMs: number): void {
    if ((runs[0]?.last ?? 0) >= this.#inFlight.nextNumber) {
      throw protocolError('an ACK of packets that were never sent');
    }
    let newest = 0;
    let packets = 0;
    for (const { first, last } of runs) {
      for (let number = last; number >= first; number -= 1) {
        if (!this.#inFlight.isPending(number)) continue;
        newest = Math.max(newest, number);
        packets += 1;
        if (this.#inFlight.wasLost(number)) this.#reorderMs = Math.min(2 * this.#reorderMs, 100);
        this.#deliveredBytes += this.#inFlight.bytesOf(number);
      }
    }
    if (newest === 0) return;
    const sentMs = this.#inFlight.sentMs(newest);
    const before = this.#inFlight.deliveredAt(newest);
    this.#settleRuns(runs);
    this.#probes = 0;
    this.#heardMs = nowMs;
    this.#waitingSinceMs = nowMs;
    this.#deliveredMs = nowMs;
    this.rate.onDelivered(packets);
    if (newest > this.#largestAcked) {
      this.#largestAcked = newest;
      this.#sample(before, sentMs, delayMs, nowMs);
    }
    const slackMs = Math.max(this.#reorderMs, this.rate.smallestRoundTripMs / 8);
    this.#inFlight.findLost(this.#largestAcked, sentMs - slackMs, (number) => this.#lose(number));
  }

  #settleRuns(runs: readonly Run[]): void {
    for (const { first, last } of runs) {
      for (let number = first; number <= last; number += 1) {
        if (!this.#inFlight.isPending(number)) continue;
        const frame = this.#inFlight.frameOf(number);
        if (frame.arrive(this.#inFlight.pieceOf(number))) this.#options.pool.giveBack(frame.buffer);
        this.#inFlight.settle(number);
      }
    }
  }

  #sample(before: Delivered, sentMs: number, delayMs: number, nowMs: number): void {
    const isNewRound = before.bytes >= this.#roundEndBytes;
    if (isNewRound) this.#roundEndBytes = this.#deliveredBytes;
    const roundTripMs = Math.max(0.05, nowMs - sentMs - delayMs);
    // Acknowledgements that were held up come in lumps: no more came through than was sent.
    const intervalMs = Math.max(0.5, nowMs - before.ms, sentMs - before.spanStartMs);
    this.#spanStartMs = sentMs;
    this.rate.onSample({
      ...{ nowMs, roundTripMs, isNewRound, isLimited: before.isLimited },
      rateBytesPerMs: (this.#deliveredBytes - before.bytes) / intervalMs,
      inFlightBytes: this.#inFlight.bytes,
    });
  }

  #lose(number: number): void {
    this.rate.onLost(1);
    const frame = this.#inFlight.frameOf(number);
    const piece = this.#inFlight.pieceOf(number);
    if (!frame.hasArrived(piece)) this.#lost.push({ frame, piece });
  }

  /** How long nothing may be heard before the oldest packet is sent again. */
  get #probeMs(): number {
    const { roundTripMs, variationMs } = this.rate;
    const patientMs = Math.max(PROBE_MS_MIN, 1.5 * roundTripMs + 4 * variationMs);
    const baseMs = Math.min(PROBE_MS_MAX, patientMs);
    return Math.max(baseMs, Math.min(PROBE_PAUSE_MS_MAX, baseMs * 2 ** this.#probes));
  }

  #waitMs(nowMs: number): number | undefined {
    if (this.#inFlight.count > 0 && nowMs - this.#waitingSinceMs >= this.#probeMs) {
      this.#waitingSinceMs = nowMs;
      // The end of a burst is lost easily; more than once, and everything is.
      const count = this.#probes === 0 ? PROBE_PACKETS : this.#inFlight.count;
      this.#probes += 1;
      this.#inFlight.loseOldest(count, (number) => this.#lose(number));
      this.#allowedBytes = Math.max(this.#allowedBytes, PROBE_BYTES);
      return 0;
    }
    const hasMore = this.#lost.length > 0 || this.#current !== undefined || !this.#isDry;
    if (hasMore && this.#allowedBytes <= 0) return 1;
    if (this.#inFlight.count === 0) return undefined;
    return Math.max(1, this.#waitingSinceMs + this.#probeMs - nowMs);
  }
}
