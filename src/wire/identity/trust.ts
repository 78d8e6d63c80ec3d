/** Whether a peer is who it should be: by the fingerprint of its certificate, in constant time. */
import { equalSecrets, type PeerCertificate, toHex } from '../../core/index.ts';
import { WireError } from '../errors.ts';

/**
 * Answers the position of the peer's fingerprint among `pins`; WIRE_NOT_TRUSTED otherwise. All pins
 * are compared, whichever fits.
 */
export function checkPinned(
  peer: PeerCertificate | undefined,
  pins: readonly Uint8Array[],
  wallMs: number,
): number {
  const certificate = checkShown(peer, wallMs);
  let found = -1;
  for (const [index, pin] of pins.entries()) {
    if (equalSecrets(pin, certificate.fingerprint)) found = index;
  }
  if (found < 0) throw notTrusted(`its fingerprint is ${toHex(certificate.fingerprint)}`);
  return found;
}

/** A certificate was shown, and it is valid now. */
export function checkShown(peer: PeerCertificate | undefined, wallMs: number): PeerCertificate {
  if (peer === undefined) throw notTrusted('it shows none');
  if (wallMs > peer.validToMs) throw notTrusted(`it expired ${dayOf(peer.validToMs)}`);
  if (wallMs < peer.validFromMs) throw notTrusted(`it is valid from ${dayOf(peer.validFromMs)}`);
  return peer;
}

function notTrusted(why: string): WireError {
  return new WireError('WIRE_NOT_TRUSTED', `the peer's certificate is not trusted: ${why}`, {
    hint: 'Pair the two nodes, compare fingerprints, or look at the clocks of both.',
  });
}

function dayOf(atMs: number): string {
  return new Date(atMs).toISOString().slice(0, 10);
}
