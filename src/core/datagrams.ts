/** Datagram sockets: single packets that may be lost, doubled, reordered, but are never cut. */
import type { EnvError } from './errors.ts';

/** Numbers, not names: nothing is looked up. */
export type DatagramAddress = { readonly host: string; readonly port: number };

export type DatagramOptions = {
  /** The own address: `0.0.0.0` or `::` for all. */
  readonly host: string;
  /** 0 picks a free one; the socket tells. */
  readonly port: number;
  /** Wanted for what waits to be read, and to be sent; the host may give less. */
  readonly bufferBytes: number;
};

export interface DatagramHandlers {
  /**
   * `view` is borrowed: it is overwritten after the call returns. One sender's datagrams come with
   * the same `from` object as long as nobody else's come between.
   */
  onDatagram(view: Uint8Array, from: DatagramAddress): void;
  /** Everything that had arrived was handed over; now is the time to answer. */
  onBatchEnd(): void;
  /** The last call. */
  onClosed(error: EnvError | undefined): void;
}

export interface DatagramSocket {
  readonly address: DatagramAddress;
  /** What the host gave for reading. */
  readonly receiveBufferBytes: number;
  /**
   * Sends the first `count` of `datagrams`, one packet each, without waiting and without keeping
   * them. Answers how many the host took; the others are not sent, as if they were lost.
   */
  send(datagrams: readonly Uint8Array[], count: number, to: DatagramAddress): number;
  close(): void;
}
