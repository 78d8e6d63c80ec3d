/** Lane: one transport of a session; it asks for messages when it can send, and hands them in. */
import type { Header } from './header.ts';
import type { Outgoing } from './outbound.ts';

export type LaneKind = 'control' | 'tls' | 'udp';

export interface Lane {
  readonly id: number;
  readonly kind: LaneKind;
  /** Whether it can carry data now. */
  readonly isReady: boolean;
  /** Sends as long as it can and its owner has something. */
  pump(): void;
  /** Ends at once; `onLaneClosed` follows. */
  destroy(error?: unknown): void;
}

/** A message of the session itself: without number, never sent again. */
export type Notice = { readonly type: number; readonly flags: number; readonly body: Uint8Array };

/** What a lane asks of its session. */
export interface LaneOwner {
  /** A notice that must go by this lane now; only the control lane has any. */
  nextNotice(lane: Lane): Notice | undefined;
  /** The next numbered message for this lane; it counts as sent with the answer. */
  nextMessage(lane: Lane): Outgoing | undefined;
  admit(lane: Lane, header: Header): boolean;
  onMessage(lane: Lane, header: Header, body: Uint8Array, buffer: Uint8Array | undefined): void;
  /** `isReady` has become true. */
  onLaneReady(lane: Lane): void;
  onLaneClosed(lane: Lane, error: unknown): void;
}
