/** Dials a node over TCP and mutual TLS 1.3, and makes sure that it is the one that was pinned. */
import type { Address, Env, SecureStream, TlsIdentity } from '../core/index.ts';
import { checkPinned } from './identity/trust.ts';
import { DIAL_TIMEOUT_MS, TLS_TIMEOUT_MS } from './limits.ts';

export type DialTlsOptions = {
  readonly address: Address;
  readonly identity: TlsIdentity;
  /** Fingerprints of certificates, one of which the other side must show. */
  readonly pins: readonly Uint8Array[];
};

export async function dialTls(
  env: Pick<Env, 'net' | 'clock'>,
  { address, identity, pins }: DialTlsOptions,
): Promise<SecureStream> {
  const tls = env.net.tls({ role: 'client', credentials: { kind: 'pinned', identity } });
  const stream = await env.net.connect(address, DIAL_TIMEOUT_MS);
  const secured = await tls.secure(stream, { hostName: undefined, timeoutMs: TLS_TIMEOUT_MS });
  try {
    checkPinned(secured.peerCertificate, pins, env.clock.wallMs());
  } catch (error) {
    secured.destroy();
    throw error;
  }
  return secured;
}
