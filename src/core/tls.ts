/** What TLS is told: credentials as bytes, never as paths, read once for many streams. */
import type { Stream } from './env.ts';

/** PEM texts: the own certificate first, then what leads to its authority. */
export type TlsIdentity = { readonly certificates: Uint8Array; readonly key: Uint8Array };

export type TlsCredentials =
  | {
      readonly kind: 'certificates';
      /** A server must have one; a client shows it if the server asks. */
      readonly identity: TlsIdentity | undefined;
      /** PEM: who may sign the peer's certificate; a client believes the public ones by default. */
      readonly authorities: Uint8Array | undefined;
      /** A client refuses a server, a server a client, that no authority vouches for. */
      readonly verifyPeer: boolean;
    }
  | {
      readonly kind: 'pre-shared-keys';
      /** By user. A client uses `user`, or the only one. */
      readonly keys: ReadonlyMap<string, Uint8Array>;
      readonly user?: string | undefined;
    }
  /**
   * TLS 1.3, and both sides show a certificate, of any origin: whoever asked for the connection
   * must look at `peerCertificate` before it believes anything.
   */
  | PinnedCredentials;

export type PinnedCredentials = {
  readonly kind: 'pinned';
  readonly identity: TlsIdentity;
  /** PEM: whose signature makes `isVouchedFor` true; none by default. */
  readonly authorities?: Uint8Array;
};

/** A certificate as the peer showed it; that it has the key is proven by the handshake. */
export type PeerCertificate = {
  /** SHA-256 of the whole certificate (DER). */
  readonly fingerprint: Uint8Array;
  readonly validFromMs: number;
  readonly validToMs: number;
  /** The names in it: `DNS:host`. */
  readonly names: readonly string[];
  /** Of its subject, if there is one. */
  readonly commonName?: string | undefined;
  /** One of the authorities stands behind it. */
  readonly isVouchedFor: boolean;
};

/** The answer of `secure`: also who the peer is, and keys that only the two ends can know. */
export interface SecureStream extends Stream {
  /** Undefined if the peer showed none. */
  readonly peerCertificate: PeerCertificate | undefined;
  /** RFC 8446, section 7.5: equal on both ends, different for each label and context. */
  exportKey(lengthBytes: number, label: string, context: Uint8Array): Uint8Array;
}

export type TlsOptions = {
  readonly role: 'client' | 'server';
  readonly credentials: TlsCredentials;
};

export type SecureOptions = {
  /** For clients: the certificate must be for it; undefined where the address has no host. */
  readonly hostName: string | undefined;
  readonly timeoutMs: number;
};

export interface Tls {
  /**
   * Turns `stream` into a TLS connection, 1.2 at least, 1.3 with `pinned` credentials.
   * From the call on the handlers that `stream`
   * was started with hear nothing more; bytes that they have not seen yet belong to TLS. Destroying
   * `stream` meanwhile ends it all. The answer is to be started anew. Fails with ENV_TLS, or with
   * ENV_TIMEOUT after `timeoutMs`; `stream` is destroyed then.
   */
  secure(stream: Stream, options: SecureOptions): Promise<SecureStream>;
}
