/** What whoever uses a session passes to it, and what it tells. */
import type { Env } from '../core/index.ts';
import type { BufferPool } from './buffers.ts';
import type { Incoming } from './incoming.ts';
import type { Lane, LaneKind } from './lane.ts';
import type * as m from './messages/index.ts';

export interface SessionHandlers {
  onMessage(message: Incoming): void;
  /** `send` said no before; there may be room now. */
  onRoom?(): void;
  /** The connection is lost; everything waits for the next one. */
  onBroken?(error: unknown): void;
  /** The side that dials could not connect again either; it goes on trying. */
  onUnreachable?(error: unknown): void;
  /** Connected again; what was not acknowledged goes out once more by itself. */
  onResumed?(): void;
  /** The peer could not do something, and goes on. */
  onPeerError?(error: m.ErrorMessage): void;
  onLaneOffer?(offer: m.LaneOffer): void;
  onLaneClosed?(lane: Lane, error: unknown): void;
  /** The last call; `error` is undefined after a goodbye of either side. */
  onClosed(error: unknown): void;
}

export type SendOptions = {
  readonly type: number;
  /** The body; given away until the message is acknowledged. */
  readonly parts: readonly Uint8Array[];
  /** CRC-32 of the last part, from whoever has read it anyway. */
  readonly lastChecksum?: number | undefined;
  /**
   * It is one part, and the HEADER_BYTES before it are the session's to write to: TLS encrypts one
   * piece of memory where it lies, and copies several together first.
   */
  readonly hasRoom?: boolean;
  readonly priority: number;
  /** A peer that does not know the type may skip the message. */
  readonly optional?: boolean;
  readonly onAcknowledged?: (() => void) | undefined;
};

/** What a session has carried, for metrics. */
export type Traffic = {
  /** Bodies that came, by the kind of lane; those that came twice count twice. */
  readonly receivedBytes: Readonly<Partial<Record<LaneKind, number>>>;
  /** Bodies that this side sent for a second time or more. */
  readonly resentBytes: number;
  /** What waits at the peer, as its last heartbeat said. */
  readonly peerBacklogBytes: number;
  /** By which lanes the peer sends, and why; empty until it says so. */
  readonly peerLanes: string;
};

export type SessionOptions = {
  readonly env: Pick<Env, 'clock'>;
  readonly pool: BufferPool;
  readonly token: Uint8Array;
  /** Who the peer is, as the host or the dialler made sure. */
  readonly identity: string;
  readonly fingerprint: Uint8Array | undefined;
  readonly handlers: SessionHandlers;
  /** What is known to have come in an earlier life of this process. */
  readonly received?: m.Received;
  /** Called at the end, before `onClosed`. */
  readonly onGone?: () => void;
};
