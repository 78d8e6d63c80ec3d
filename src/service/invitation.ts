/** Invitation: one line that tells an agent whom to trust, and lets the provider trust it, once. */
import { SHA256_BYTES } from '../core/index.ts';
import { PAIRING_TOKEN_BYTES } from '../wire/index.ts';
import { ServiceError } from './errors.ts';

export type Invitation = {
  /** Of the provider's certificate. */
  readonly fingerprint: Uint8Array;
  /** Shown to it; good for one use. */
  readonly secret: Uint8Array;
};

/** Without it some would begin with a dash, and be taken for an option. */
const MARK = 'f';

export function encodeInvitation({ fingerprint, secret }: Invitation): string {
  return encoded(Buffer.concat([fingerprint, secret]));
}

/** SERVICE_TOKEN. */
export function decodeInvitation(text: string): Invitation {
  const bytes = new Uint8Array(Buffer.from(text.slice(MARK.length), 'base64url'));
  if (bytes.byteLength !== SHA256_BYTES + PAIRING_TOKEN_BYTES || encoded(bytes) !== text) {
    throw new ServiceError('SERVICE_TOKEN', 'that is no pairing token, or not all of one', {
      hint: 'Copy the whole line that `ferry serve` prints.',
    });
  }
  return { fingerprint: bytes.slice(0, SHA256_BYTES), secret: bytes.slice(SHA256_BYTES) };
}

function encoded(bytes: Uint8Array): string {
  return MARK + Buffer.from(bytes).toString('base64url');
}
