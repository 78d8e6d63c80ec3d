/** A simulated network for datagrams: lost, late, doubled, changed, or before a narrow way. */
import {
  type DatagramAddress,
  type DatagramHandlers,
  type DatagramOptions,
  type DatagramSocket,
  EnvError,
} from '../src/core/index.ts';
import type { SimulatedProcess } from './process.ts';

export type DatagramFaults = {
  /** Probabilities, each per datagram. */
  readonly loss: number;
  readonly duplicate: number;
  readonly corrupt: number;
  /** Held back so long that others overtake it. */
  readonly reorder: number;
  /** Nothing gets through, as behind a firewall. */
  readonly isBlocked: boolean;
  /** One way, without waiting for the bottleneck. */
  readonly delayMs: number;
  /** Of the bottleneck, one for each receiver; infinite by default. */
  readonly rateBytesPerMs: number;
  /** What waits longer than this before the bottleneck is dropped. */
  readonly queueMs: number;
  /** Longer datagrams are dropped. */
  readonly sizeBytesMax: number;
};

const noFaults: DatagramFaults = {
  ...{ loss: 0, duplicate: 0, corrupt: 0, reorder: 0, isBlocked: false },
  ...{ delayMs: 1, rateBytesPerMs: Number.POSITIVE_INFINITY, queueMs: 50, sizeBytesMax: 65_507 },
};

/** IPv4 and UDP headers. */
const OVERHEAD_BYTES = 28;
const FIRST_FREE_PORT = 49_152;
/** Overwrites what was handed to `onDatagram`, so that nobody gets away with keeping the view. */
const STALE_BYTE = 0xdb;

type Bound = {
  readonly process: SimulatedProcess;
  readonly handlers: DatagramHandlers;
  /** When the bottleneck before it is free again. */
  freeAtMs: number;
};

export class SimulatedDatagrams {
  faults: DatagramFaults = noFaults;
  /** All that was ever sent, for tests that look at it or send it again. */
  onSend: ((bytes: Uint8Array, from: DatagramAddress, to: DatagramAddress) => void) | undefined;
  readonly #sockets = new Map<string, Bound>();
  readonly #translated = new Map<string, DatagramAddress>();
  #nextPort = FIRST_FREE_PORT;

  setFaults(faults: Partial<DatagramFaults>): void {
    this.faults = { ...this.faults, ...faults };
  }

  /** What comes from `from` seems to come from `to` from now on, as if a router forgot it. */
  translate(from: DatagramAddress, to: DatagramAddress): void {
    this.#translated.set(nameOf(from), to);
    this.#sockets.set(nameOf(to), this.#sockets.get(nameOf(from))!);
  }

  /** Brings a datagram to `to`, whoever claims to have sent it. */
  inject(bytes: Uint8Array, from: DatagramAddress, to: DatagramAddress): void {
    const bound = this.#sockets.get(nameOf(to));
    if (bound !== undefined) this.#arrive(bound, bytes.slice(), from, 0);
  }

  open(
    process: SimulatedProcess,
    { host, port }: DatagramOptions,
    handlers: DatagramHandlers,
  ): DatagramSocket {
    const address = { host, port: port === 0 ? this.#nextPort++ : port };
    const name = nameOf(address);
    if (this.#sockets.has(name)) {
      throw new EnvError('ENV_ADDRESS_IN_USE', `simulated network: ${name} is in use`, {
        hint: 'The simulated network answers as the test asked it to.',
      });
    }
    const bound: Bound = { process, handlers, freeAtMs: 0 };
    this.#sockets.set(name, bound);
    const stop = () => {
      for (const [key, value] of this.#sockets) if (value === bound) this.#sockets.delete(key);
    };
    process.atDeath(stop);
    return {
      address,
      receiveBufferBytes: 4 * 1024 * 1024,
      send: (datagrams, count, to) => {
        for (let at = 0; at < count; at += 1) this.#send(process, datagrams[at]!, address, to);
        return count;
      },
      close: () => {
        if (this.#sockets.get(name) !== bound) return;
        stop();
        process.schedule(0, `${name} is closed`, () => handlers.onClosed(undefined));
      },
    };
  }

  #send(
    process: SimulatedProcess,
    bytes: Uint8Array,
    from: DatagramAddress,
    to: DatagramAddress,
  ): void {
    this.onSend?.(bytes, from, to);
    const bound = this.#sockets.get(nameOf(to));
    const draws = process.draws();
    const { loss, duplicate, corrupt, reorder, isBlocked, delayMs, sizeBytesMax } = this.faults;
    if (bound === undefined || isBlocked || bytes.byteLength > sizeBytesMax) return;
    if (draws.chance(loss)) return;
    const waitMs = this.#pass(bound, process.nowMs, bytes.byteLength);
    if (waitMs === undefined) return;
    const copy = bytes.slice();
    if (draws.chance(corrupt)) copy[draws.below(copy.byteLength)]! ^= 1 << draws.below(8);
    const lateMs = draws.chance(reorder) ? delayMs * (1 + 3 * draws.unit()) : 0;
    const source = this.#translated.get(nameOf(from)) ?? from;
    this.#arrive(bound, copy, source, waitMs + delayMs + lateMs);
    if (!draws.chance(duplicate)) return;
    this.#arrive(bound, copy.slice(), source, waitMs + delayMs * (1 + draws.unit()));
  }

  /** How long it takes through the bottleneck; undefined: the queue is full. */
  #pass(bound: Bound, nowMs: number, lengthBytes: number): number | undefined {
    const startMs = Math.max(nowMs, bound.freeAtMs);
    if (startMs - nowMs > this.faults.queueMs) return undefined;
    bound.freeAtMs = startMs + (lengthBytes + OVERHEAD_BYTES) / this.faults.rateBytesPerMs;
    return bound.freeAtMs - nowMs;
  }

  #arrive(bound: Bound, bytes: Uint8Array, from: DatagramAddress, delayMs: number): void {
    bound.process.schedule(delayMs, `gets a datagram of ${bytes.byteLength} bytes`, () => {
      if (![...this.#sockets.values()].includes(bound)) return;
      bound.handlers.onDatagram(bytes, from);
      bytes.fill(STALE_BYTE);
      bound.handlers.onBatchEnd();
    });
  }
}

function nameOf({ host, port }: DatagramAddress): string {
  return `udp:${host}:${port}`;
}
