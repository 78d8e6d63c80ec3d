/** What can go wrong between an NBD client and a server, apart from what devices answer. */
import { FerryError } from '../core/index.ts';

export type NbdErrorCode =
  /** The text is no NBD URI. */
  | 'NBD_URI'
  /** The peer does not keep the protocol. */
  | 'NBD_PROTOCOL'
  /** The server has no such export. */
  | 'NBD_UNKNOWN_EXPORT'
  /** The server does not let us in, or wants what we do not offer. */
  | 'NBD_REFUSED'
  /** The export's size or block size is one that nobody can use. */
  | 'NBD_SIZE'
  /** The server does not offer what was asked for. */
  | 'NBD_UNSUPPORTED'
  /** One side demands TLS that the other does not have, or the credentials do not fit. */
  | 'NBD_TLS'
  /** A thread of a server ended, or could not begin. */
  | 'NBD_THREAD'
  /** No answer in time. */
  | 'NBD_TIMEOUT'
  /** The connection ended too early. */
  | 'NBD_CLOSED';

export class NbdError extends FerryError<NbdErrorCode> {
  override readonly name = 'NbdError';
}

const serverHint = 'The server is faulty or speaks another protocol; check the address.';

/** A server that lies or stumbles: nothing it said is used. */
export function protocolError(message: string, hint = serverHint): NbdError {
  return new NbdError('NBD_PROTOCOL', message, { hint });
}
