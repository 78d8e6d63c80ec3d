/** What a side sends: five queues in strict order, and what is sent but not acknowledged. */
import assert from 'node:assert/strict';
import { protocolError } from './errors.ts';
import { Fifo } from './fifo.ts';
import { HEADER_BYTES, PRIORITIES, PRIORITY_CONTROL } from './header.ts';
import { QUEUE_BYTES_MAX, QUEUE_MESSAGES_MAX, UNACKNOWLEDGED_MAX } from './limits.ts';
import { forEachLater, type Received } from './messages/index.ts';

/** The parts belong to the session until the message is acknowledged: it may be sent again. */
export type Outgoing = {
  readonly type: number;
  readonly flags: number;
  readonly priority: number;
  readonly parts: readonly Uint8Array[];
  readonly lastChecksum: number | undefined;
  readonly hasRoom: boolean;
  readonly bodyBytes: number;
  readonly onAcknowledged: (() => void) | undefined;
  /** 0 until it is first sent. */
  sequence: number;
  /** The lane on which it was sent last; -1 while it waits. */
  laneId: number;
};

/** Small and urgent messages go by the control lane, which is never full of blocks. */
export const ROUTE_CONTROL = 0;
export const ROUTE_DATA = 1;
const CONTROL_BODY_BYTES_MAX = 4 * 1024;

/** Of one route and priority; what is sent again goes before what is new. */
type Queue = { again: Outgoing[]; readonly fresh: Fifo<Outgoing> };

export class Outbound {
  readonly #onSettled: (message: Outgoing) => void;
  readonly #queues: readonly (readonly Queue[])[] = [makeQueues(), makeQueues()];
  readonly #waitingBytes = new Array<number>(PRIORITIES).fill(0);
  readonly #waitingCount = new Array<number>(PRIORITIES).fill(0);
  /** In the order of their numbers. */
  readonly #unacknowledged = new Map<number, Outgoing>();
  #nextSequence = 1;
  unacknowledgedBytes = 0;
  /** Bytes of bodies sent for a second time or more. */
  resentBytes = 0;

  constructor(onSettled: (message: Outgoing) => void = () => {}) {
    this.#onSettled = onSettled;
  }

  /** The lowest number that may still be sent. */
  get firstNumber(): number {
    for (const sequence of this.#unacknowledged.keys()) return sequence;
    return this.#nextSequence;
  }

  get waitingBytes(): number {
    return this.#waitingBytes.reduce((sum, bytes) => sum + bytes, 0);
  }

  get isIdle(): boolean {
    return this.#unacknowledged.size === 0 && this.#waitingCount.every((count) => count === 0);
  }

  /** Numbers that a peer has from an earlier life of this side are not used again. */
  skipTo(sequence: number): void {
    if (this.#unacknowledged.size > 0) return;
    this.#nextSequence = Math.max(this.#nextSequence, sequence);
  }

  /** A queue takes one message of any size, and then as many as fit. */
  hasRoom(priority: number, bodyBytes: number): boolean {
    if (this.#waitingCount[priority] === 0) return true;
    if (this.#waitingCount[priority]! >= QUEUE_MESSAGES_MAX) return false;
    return this.#waitingBytes[priority]! + bodyBytes <= QUEUE_BYTES_MAX;
  }

  push(message: Outgoing): void {
    this.#wait(message, 1);
    this.#queueOf(message).fresh.push(message);
  }

  /** The most urgent message of a route, or undefined; it stays where it is. */
  peek(route: number): Outgoing | undefined {
    for (const { again, fresh } of this.#queues[route]!) {
      const first = again[0] ?? fresh.peek();
      if (first === undefined) continue;
      if (first.sequence === 0 && this.#isWindowFull()) continue;
      return first;
    }
    return undefined;
  }

  /** Takes out what `peek` answered, as sent on the lane. */
  take(message: Outgoing, laneId: number): void {
    const { again, fresh } = this.#queueOf(message);
    const taken = again.length > 0 ? again.shift() : fresh.shift();
    assert(taken === message);
    this.#wait(message, -1);
    if (message.sequence === 0) {
      message.sequence = this.#nextSequence++;
      this.#unacknowledged.set(message.sequence, message);
      this.unacknowledgedBytes += message.bodyBytes;
    } else this.resentBytes += message.bodyBytes;
    message.laneId = laneId;
  }

  /** Answers the bytes that are newly acknowledged. */
  acknowledge(received: Received): number {
    if (received.cumulative >= this.#nextSequence) throw notSent(received.cumulative);
    let bytes = 0;
    for (const [sequence, message] of this.#unacknowledged) {
      if (sequence > received.cumulative) break;
      bytes += this.#settle(message);
    }
    forEachLater(received, (sequence) => {
      if (sequence >= this.#nextSequence) throw notSent(sequence);
      const message = this.#unacknowledged.get(sequence);
      if (message !== undefined) bytes += this.#settle(message);
    });
    return bytes;
  }

  /** A lane is gone, or all are: what was on it and is not acknowledged waits again. */
  resend(laneId: number | undefined): void {
    const touched = new Set<Queue>();
    for (const message of this.#unacknowledged.values()) {
      if (message.laneId < 0 || (laneId !== undefined && message.laneId !== laneId)) continue;
      message.laneId = -1;
      this.#wait(message, 1);
      const queue = this.#queueOf(message);
      queue.again.push(message);
      touched.add(queue);
    }
    for (const { again } of touched) again.sort((a, b) => a.sequence - b.sequence);
  }

  #settle(message: Outgoing): number {
    this.#unacknowledged.delete(message.sequence);
    this.unacknowledgedBytes -= message.bodyBytes;
    if (message.laneId < 0) {
      const queue = this.#queueOf(message);
      queue.again = queue.again.filter((other) => other !== message);
      this.#wait(message, -1);
    }
    this.#onSettled(message);
    message.onAcknowledged?.();
    return message.bodyBytes;
  }

  #isWindowFull(): boolean {
    return this.#nextSequence - this.firstNumber >= UNACKNOWLEDGED_MAX;
  }

  #wait(message: Outgoing, sign: 1 | -1): void {
    this.#waitingBytes[message.priority]! += sign * message.bodyBytes;
    this.#waitingCount[message.priority]! += sign;
  }

  #queueOf(message: Outgoing): Queue {
    return this.#queues[routeOf(message)]![message.priority]!;
  }
}

function routeOf({ priority, bodyBytes }: Outgoing): number {
  const isSmall = bodyBytes <= CONTROL_BODY_BYTES_MAX;
  return priority <= PRIORITY_CONTROL && isSmall ? ROUTE_CONTROL : ROUTE_DATA;
}

/** What a message costs in credit. */
export function costOf(bodyBytes: number): number {
  return bodyBytes + HEADER_BYTES;
}

function makeQueues(): Queue[] {
  return Array.from({ length: PRIORITIES }, () => ({ again: [], fresh: new Fifo<Outgoing>() }));
}

function notSent(sequence: number): Error {
  return protocolError(`the peer acknowledges message ${sequence}, which was never sent`);
}
