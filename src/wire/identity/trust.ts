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

/** An authority stands behind it, and it is for that host. WIRE_NOT_TRUSTED. */
export function checkVouched(
  peer: PeerCertificate | undefined,
  hostName: string,
  wallMs: number,
): void {
  const { isVouchedFor, names } = checkShown(peer, wallMs);
  if (!isVouchedFor) throw notTrusted('the authority (--ca) does not stand behind it');
  const wanted = plainHost(hostName);
  const hosts = names.flatMap((name) => /^(?:DNS|IP Address):(.+)$/.exec(name)?.[1] ?? []);
  if (hosts.some((host) => plainHost(host) === wanted)) return;
  throw notTrusted(`it is for ${names.join(', ') || 'no host'}, not for ${hostName}`);
}

/** Upper case means nothing in names of hosts; addresses of IPv6 can be written in many ways. */
function plainHost(host: string): string {
  const address = `http://[${host}]`;
  return URL.canParse(address) ? new URL(address).hostname : host.toLowerCase();
}

/** By which its authority knows it: its first name, or that of its subject. WIRE_NOT_TRUSTED. */
export function vouchedName({ names, commonName = '' }: PeerCertificate): string {
  const name = names[0]?.replace(/^(DNS|URI|IP Address|email):/, '') ?? commonName;
  if (AGENT_NAME.test(name)) return name;
  throw notTrusted(`${JSON.stringify(name.slice(0, 40))} in it is no name for an agent`);
}

/** It is shown to people, and typed by them. */
const AGENT_NAME = /^[A-Za-z0-9][A-Za-z0-9.:/@_-]{0,127}$/;

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
