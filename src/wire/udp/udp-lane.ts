/** A lane over datagrams: proves the path, sends and receives, repairs, and gives up in time. */
import type { Clock, DatagramAddress, Random, Timer } from '../../core/index.ts';
import type { BufferPool } from '../buffers.ts';
import { formatError, timeoutError } from '../errors.ts';
import { emptyHeader, getHeader, HEADER_BYTES } from '../header.ts';
import type { Lane, LaneOwner } from '../lane.ts';
import { checkBody } from '../message-decoder.ts';
import { headerOf } from '../message-stream.ts';
import type { LaneKeys } from './keys.ts';
import { makeAck, PacketWindow, readRuns } from './packet-window.ts';
import * as packets from './packets.ts';
import { Path } from './path.ts';
import { Receiver } from './receiver.ts';
import { Sender } from './sender.ts';

/** Keys are good for so many packets, far below 2^32; a new lane has new ones. */
const PACKETS_MAX = 2 ** 31;
/** Pieces are acknowledged after so many, or after so long. */
const ACK_PACKETS = 32;
const ACK_DELAY_MS = 2;
/** The path is asked at these moments, and then it counts as blocked. */
const PINGS_AT_MS = [0, 100, 300, 700, 1_500] as const;
export const UDP_OPEN_TIMEOUT_MS = 3_000;
/** Packets are under way, and nothing was acknowledged for so long: the path is gone. */
export const UDP_SILENCE_MS = 4_000;

export type UdpLaneOptions = {
  readonly id: number;
  /** What its packets begin with. */
  readonly lane: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly pool: BufferPool;
  readonly owner: LaneOwner;
  readonly sendKeys: LaneKeys;
  readonly receiveKeys: LaneKeys;
  transmit(datagrams: readonly Uint8Array[], count: number, to: DatagramAddress): void;
  /** The path works in both directions. */
  onProven(lane: UdpLane): void;
  /** Called once, before the owner hears of it. */
  onGone(lane: UdpLane): void;
};

export class UdpLane implements Lane {
  readonly kind = 'udp';
  readonly id: number;
  readonly #options: UdpLaneOptions;
  readonly #path: Path;
  readonly #window = new PacketWindow();
  readonly #sender: Sender;
  readonly #receiver: Receiver;
  readonly #header = emptyHeader();
  readonly #scratch = new Uint8Array(packets.DATAGRAM_BYTES_MAX);
  #unackedPackets = 0;
  #ackSinceMs = 0;
  #isAckUrgent = false;
  #ackTimer: Timer | undefined;
  #pumpTimer: Timer | undefined;
  #pumpAtMs = 0;
  #openTimers: Timer[] = [];
  #isClosed = false;
  droppedPackets = 0;

  constructor(options: UdpLaneOptions) {
    this.id = options.id;
    this.#options = options;
    this.#path = new Path(options.random);
    this.#sender = new Sender({
      lane: options.lane,
      keys: options.sendKeys,
      pool: options.pool,
      next: () => this.#next(),
      transmit: (datagrams, count) => options.transmit(datagrams, count, this.#path.address!),
    });
    this.#receiver = new Receiver({
      ...{ keys: options.receiveKeys, pool: options.pool },
      onFrame: (frame) => this.#onFrame(frame),
    });
  }

  get isReady(): boolean {
    return this.#path.address !== undefined;
  }

  /** Figures for people and for choosing a lane. */
  get figures() {
    const { rate, retransmittedPackets, sentPackets } = this.#sender;
    return {
      ...{ retransmittedPackets, sentPackets, droppedPackets: this.droppedPackets },
      rateBytesPerMs: rate.rateBytesPerMs,
      roundTripMs: rate.roundTripMs,
      smallestRoundTripMs: rate.smallestRoundTripMs,
      lossShare: rate.lossShare,
      mode: rate.mode,
    };
  }

  /** The dialling side asks until it is answered, or gives the lane up. */
  open(to: DatagramAddress): void {
    const { clock } = this.#options;
    for (const atMs of PINGS_AT_MS) {
      const ask = () => {
        if (!this.isReady) this.#ping(packets.KIND_PING, this.#path.ask(to), to);
      };
      if (atMs === 0) ask();
      else this.#openTimers.push(clock.after(atMs, ask));
    }
    this.#openTimers.push(
      clock.after(UDP_OPEN_TIMEOUT_MS, () => {
        if (!this.isReady) this.destroy(timeoutError('no datagram came back: UDP is blocked'));
      }),
    );
  }

  pump(): void {
    if (this.#isClosed || this.#path.address === undefined) return;
    const nowMs = this.#options.clock.monotonicMs();
    const { inFlightCount, heardMs, nextNumber } = this.#sender;
    if (inFlightCount > 0 && nowMs - heardMs > UDP_SILENCE_MS) {
      this.destroy(timeoutError(`datagrams were not acknowledged for ${UDP_SILENCE_MS} ms`));
      return;
    }
    if (nextNumber > PACKETS_MAX) {
      this.destroy(timeoutError('the keys of this lane are used up'));
      return;
    }
    const waitMs = this.#sender.pump(nowMs);
    if (waitMs !== undefined) this.#pumpIn(waitMs, nowMs);
  }

  /** A datagram for this lane, whoever sent it. */
  onDatagram(packet: Uint8Array, from: DatagramAddress): void {
    if (this.#isClosed) return;
    const number = packets.numberOfPacket(packet);
    if (!this.#window.isNew(number) || !this.#options.receiveKeys.tag.check(packet)) {
      this.droppedPackets += 1;
      return;
    }
    const isGap = this.#window.add(number);
    try {
      this.#onPacket(packet, from, isGap);
    } catch (error) {
      this.destroy(error);
    }
  }

  /** All that had come was handed over. */
  onBatchEnd(): void {
    if (this.#isClosed) return;
    if (this.#unackedPackets > 0) {
      if (this.#isAckUrgent || this.#unackedPackets >= ACK_PACKETS) this.#ack();
      else {
        this.#ackTimer ??= this.#options.clock.after(ACK_DELAY_MS, () => {
          this.#ackTimer = undefined;
          this.#ack();
        });
      }
    }
    this.pump();
  }

  destroy(error?: unknown): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const timer of [this.#ackTimer, this.#pumpTimer, ...this.#openTimers]) timer?.cancel();
    this.#receiver.stop();
    this.#options.onGone(this);
    this.#options.owner.onLaneClosed(this, error);
  }

  #onPacket(packet: Uint8Array, from: DatagramAddress, isGap: boolean): void {
    const kind = packet[0]!;
    const question = this.#path.onPacket(from, packet.byteLength, packets.DATAGRAM_BYTES_MAX);
    if (question !== undefined) this.#ping(packets.KIND_PING, question, from);
    if (kind === packets.KIND_PIECE) {
      if (this.#unackedPackets === 0) this.#ackSinceMs = this.#options.clock.monotonicMs();
      this.#unackedPackets += 1;
      this.#isAckUrgent ||= isGap;
      this.#receiver.onPiece(packet);
      return;
    }
    const body = packet.subarray(
      packets.PACKET_HEADER_BYTES,
      packet.byteLength - packets.TAG_BYTES,
    );
    if (kind === packets.KIND_ACK) {
      const nowMs = this.#options.clock.monotonicMs();
      this.#sender.onAck(readRuns(body.subarray(1)), (body[0] ?? 0) / 10, nowMs);
    } else if (kind === packets.KIND_PING) {
      if (!this.#path.mayAnswer(from, packets.DATAGRAM_BYTES_MAX)) return;
      this.#ping(packets.KIND_PONG, body.subarray(0, packets.PING_BYTES), from);
    } else if (kind === packets.KIND_PONG) {
      if (!this.#path.onAnswer(from, body.subarray(0, packets.PING_BYTES))) return;
      this.#options.onProven(this);
      this.pump();
    }
  }

  /** Padded to the largest size: what comes through shows that every packet would. */
  #ping(kind: number, question: Uint8Array, to: DatagramAddress): void {
    const packet = this.#scratch.fill(0);
    packets.putPacketHeader(packet, kind, this.#options.lane, this.#sender.takeNumber());
    packet.set(question, packets.PACKET_HEADER_BYTES);
    this.#options.sendKeys.tag.put(packet, packet.byteLength - packets.TAG_BYTES);
    this.#options.transmit([packet], 1, to);
  }

  #ack(): void {
    const to = this.#path.address;
    this.#ackTimer?.cancel();
    this.#ackTimer = undefined;
    if (to === undefined || this.#unackedPackets === 0) return;
    const delayUs = (this.#options.clock.monotonicMs() - this.#ackSinceMs) * 1000;
    const body = makeAck(this.#window, this.#unackedPackets > 1 ? 0 : delayUs);
    const end = packets.PACKET_HEADER_BYTES + body.byteLength;
    const packet = this.#scratch.subarray(0, end + packets.TAG_BYTES);
    const number = this.#sender.takeNumber();
    packets.putPacketHeader(packet, packets.KIND_ACK, this.#options.lane, number);
    packet.set(body, packets.PACKET_HEADER_BYTES);
    this.#options.sendKeys.tag.put(packet, end);
    this.#options.transmit([packet], 1, to);
    this.#unackedPackets = 0;
    this.#isAckUrgent = false;
  }

  #next(): readonly Uint8Array[] | undefined {
    const message = this.#options.owner.nextMessage(this);
    if (message === undefined) return undefined;
    const { type, flags, priority, sequence } = message;
    return [headerOf(type, flags, priority, sequence, message), ...message.parts];
  }

  #onFrame(frame: Uint8Array): void {
    const header = this.#header;
    getHeader(frame, 0, header);
    const body = frame.subarray(HEADER_BYTES);
    if (header.bodyBytes !== body.byteLength || frame[11] !== 0) {
      throw formatError('a frame is not one message');
    }
    checkBody(frame, header, body);
    this.#options.owner.admit(this, header);
    this.#options.owner.onMessage(this, header, body, undefined);
  }

  #pumpIn(delayMs: number, nowMs: number): void {
    const atMs = nowMs + delayMs;
    if (this.#pumpTimer !== undefined) {
      if (this.#pumpAtMs <= atMs) return;
      this.#pumpTimer.cancel();
    }
    this.#pumpAtMs = atMs;
    this.#pumpTimer = this.#options.clock.after(delayMs, () => {
      this.#pumpTimer = undefined;
      this.pump();
    });
  }
}
