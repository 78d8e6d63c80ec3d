/** Dials a node over TCP and mutual TLS 1.3, and makes sure that it is who it should be. */
import type { Address, Env, SecureStream, TlsIdentity } from '../core/index.ts';
import { checkPinned, checkVouched } from './identity/trust.ts';
import { DIAL_TIMEOUT_MS, TLS_TIMEOUT_MS } from './limits.ts';

export type DialTlsOptions = {
  readonly address: Address;
  readonly identity: TlsIdentity;
  /** Fingerprints of certificates, one of which the other side must show. */
  readonly pins?: readonly Uint8Array[];
  /** PEM: instead of pins, who must stand behind a certificate for that host. */
  readonly authorities?: Uint8Array | undefined;
};

export async function dialTls(
  env: Pick<Env, 'net' | 'clock'>,
  { address, identity, pins = [], authorities }: DialTlsOptions,
): Promise<SecureStream> {
  const trusted = authorities && { authorities };
  const credentials = { kind: 'pinned', identity, ...trusted } as const;
  const tls = env.net.tls({ role: 'client', credentials });
  const stream = await env.net.connect(address, DIAL_TIMEOUT_MS);
  const secured = await tls.secure(stream, { hostName: undefined, timeoutMs: TLS_TIMEOUT_MS });
  try {
    const { peerCertificate } = secured;
    const wallMs = env.clock.wallMs();
    if (authorities === undefined) checkPinned(peerCertificate, pins, wallMs);
    else checkVouched(peerCertificate, address.kind === 'tcp' ? address.host : '', wallMs);
  } catch (error) {
    secured.destroy();
    throw error;
  }
  return secured;
}
