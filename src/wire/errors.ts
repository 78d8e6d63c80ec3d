/** What can go wrong between two ends of a session. */
import { FerryError, hasCode, messageOf } from '../core/index.ts';

export type WireErrorCode =
  /** Bytes that do not parse, or a checksum that is wrong. */
  | 'WIRE_FORMAT'
  /** No version of the protocol is spoken by both sides. */
  | 'WIRE_VERSION'
  /** The peer insists on something that this side does not know. */
  | 'WIRE_UNSUPPORTED'
  /** A length or a count beyond what was agreed. */
  | 'WIRE_LIMIT'
  /** The peer sent more than it was given credit for, or a message out of its turn. */
  | 'WIRE_PROTOCOL'
  /** The peer's certificate is not one that is trusted here. */
  | 'WIRE_NOT_TRUSTED'
  /** The peer is known, and may not do this. */
  | 'WIRE_DENIED'
  /** The session that the peer wants to resume is not known here. */
  | 'WIRE_SESSION_UNKNOWN'
  /** A token that was used, has expired or never existed. */
  | 'WIRE_TOKEN'
  /** The peer answered nothing in time. */
  | 'WIRE_TIMEOUT'
  /** The queue is full: wait for room. */
  | 'WIRE_FULL'
  /** Too many sessions or half-open connections. */
  | 'WIRE_BUSY'
  /** The session or the lane is over. */
  | 'WIRE_CLOSED'
  /** The peer ended the session with an error of its own; `remoteCode` says which. */
  | 'WIRE_REMOTE';

export class WireError extends FerryError<WireErrorCode> {
  override readonly name = 'WireError';
  /** The code in the peer's ERROR message. */
  readonly remoteCode: string | undefined;

  constructor(
    code: WireErrorCode,
    message: string,
    options: { readonly hint: string; readonly cause?: unknown; readonly remoteCode?: string },
  ) {
    super(code, message, options);
    this.remoteCode = options.remoteCode;
  }
}

const peerHint = 'The peer is faulty or of another version; compare versions on both sides.';

export function formatError(message: string, cause?: unknown): WireError {
  return new WireError('WIRE_FORMAT', message, { hint: peerHint, cause });
}

export function limitError(message: string): WireError {
  return new WireError('WIRE_LIMIT', message, { hint: peerHint });
}

export function protocolError(message: string): WireError {
  return new WireError('WIRE_PROTOCOL', message, { hint: peerHint });
}

export function unsupported(what: string): WireError {
  return new WireError('WIRE_UNSUPPORTED', `the peer insists on ${what}, which are unknown here`, {
    hint: 'Update this side, or let the peer do without.',
  });
}

export function closedError(): WireError {
  return new WireError('WIRE_CLOSED', 'the session is over', { hint: 'Connect again.' });
}

export function timeoutError(message: string): WireError {
  return new WireError('WIRE_TIMEOUT', message, {
    hint: 'Check the network and whether the other side still runs.',
  });
}

/** What this side can do about what the other one says. */
const remoteHints: Readonly<Record<string, string>> = {
  WIRE_TOKEN: 'Have `ferry peers --invite` print another line there, and run that.',
  WIRE_NOT_TRUSTED:
    'This node was revoked there, or never paired: run a new line of `ferry peers --invite`.',
};

export function remoteError({ code, text }: { code: string; text: string }): WireError {
  return new WireError('WIRE_REMOTE', `the other side ended the session: ${text} (${code})`, {
    hint: remoteHints[code] ?? 'Look at the log of the other side.',
    remoteCode: code,
  });
}

/** Runs a decoder of `what`: bytes that end early or say nonsense become WIRE_FORMAT. */
export function decoding<T>(what: string, decode: () => T): T {
  try {
    return decode();
  } catch (error) {
    if (hasCode(error, 'FORMAT_INVALID')) {
      throw formatError(`${what} does not parse: ${messageOf(error)}`, error);
    }
    throw error;
  }
}
