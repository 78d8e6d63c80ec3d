/** TLS by Node's OpenSSL, over a socket that has been used in the clear until now. */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { X509Certificate } from 'node:crypto';
import { isIP, type Socket } from 'node:net';
import type { ConnectionOptions, SecureContextOptions, TLSSocket } from 'node:tls';
import { EnvError } from '../errors.ts';
import { sha256 } from '../hash.ts';
import type {
  PeerCertificate,
  SecureOptions,
  SecureStream,
  Tls,
  TlsCredentials,
  TlsOptions,
} from '../tls.ts';
import { QUEUED_BYTES_MAX, release, streamOf } from './stream.ts';

/** Loaded at the first use: few commands have any, and none of the threads. */
const tls = () => process.getBuiltinModule('node:tls');

/**
 * Pre-shared keys: one suite of TLS 1.3 (OpenSSL knows the hash of no key, and assumes SHA-256),
 * and those of 1.2 whose past stays secret when the key becomes known.
 */
const PRE_SHARED_KEY_CIPHERS =
  'TLS_AES_128_GCM_SHA256:ECDHE-PSK-CHACHA20-POLY1305:DHE-PSK-AES256-GCM-SHA384:' +
  'DHE-PSK-CHACHA20-POLY1305:DHE-PSK-AES128-GCM-SHA256:' +
  'ECDHE-PSK-AES256-CBC-SHA384:ECDHE-PSK-AES128-CBC-SHA256';

/** Settles with the TLS socket once both sides have agreed. */
type Handshake = (socket: Socket, options: SecureOptions) => Promise<TLSSocket>;

export function nodeTls({ role, credentials }: TlsOptions): Tls {
  let handshake: Handshake;
  // Who pins certificates bounds what may be under way by credit, and never pauses.
  const isNeverPaused = credentials.kind === 'pinned';
  try {
    handshake = role === 'server' ? serverSide(credentials) : clientSide(credentials);
  } catch (error) {
    if (error instanceof EnvError) throw error;
    throw tlsError(`the ${role}'s credentials cannot be used: ${reasonOf(error)}`, error);
  }
  return {
    async secure(stream, options) {
      const { peer } = stream;
      const socket = release(stream);
      if (socket === undefined) {
        stream.destroy();
        throw tlsError(`${peer} cannot carry TLS`, undefined);
      }
      return await bounded(socket, { ...options, peer }, handshake, (secured) =>
        secureStreamOf(secured, peer, isNeverPaused),
      );
    },
  };
}

async function bounded(
  socket: Socket,
  options: SecureOptions & { readonly peer: string },
  handshake: Handshake,
  streamOfSecured: (secured: TLSSocket) => SecureStream,
): Promise<SecureStream> {
  const { peer } = options;
  const late = new EnvError('ENV_TIMEOUT', `${peer}: no TLS within ${options.timeoutMs} ms`, {
    hint: 'Look at the other side; it may be stuck, or not expect TLS.',
  });
  const timer = setTimeout(() => socket.destroy(late), options.timeoutMs);
  try {
    // In mid-handshake a peer that says no more will never say anything; afterwards it may listen.
    socket.allowHalfOpen = false;
    const secured = await handshake(socket, options);
    secured.allowHalfOpen = true;
    secured.disableRenegotiation();
    return streamOfSecured(secured);
  } catch (error) {
    socket.destroy();
    if (socket.errored === late) throw late;
    throw tlsError(`TLS with ${peer} failed: ${reasonOf(error)}`, error);
  } finally {
    clearTimeout(timer);
  }
}

function secureStreamOf(socket: TLSSocket, peer: string, isNeverPaused: boolean): SecureStream {
  const certificate = socket.getPeerX509Certificate();
  return Object.assign(streamOf(socket, peer, { isNeverPaused }), {
    peerCertificate: certificate && peerCertificate(certificate, socket.authorized),
    exportKey: (lengthBytes: number, label: string, context: Uint8Array) =>
      socket.exportKeyingMaterial(lengthBytes, label, bufferOf(context)),
  });
}

function peerCertificate(certificate: X509Certificate, isVouchedFor: boolean): PeerCertificate {
  return {
    fingerprint: sha256(certificate.raw),
    validFromMs: certificate.validFromDate.getTime(),
    validToMs: certificate.validToDate.getTime(),
    names: certificate.subjectAltName?.split(', ') ?? [],
    commonName: /^CN=(.+)$/m.exec(certificate.subject)?.[1],
    isVouchedFor,
  };
}

/**
 * A `tls.Server` that never listens: sockets are injected, and it checks clients as ever. Which
 * socket an event is about is told by the asynchronous context in which it was injected.
 */
function serverSide(credentials: TlsCredentials): Handshake {
  type Waiting = { done(socket: TLSSocket): void; fail(error: unknown): void };
  const waiting = new AsyncLocalStorage<Waiting>();
  const isVerified = credentials.kind === 'certificates' && credentials.verifyPeer;
  const server = tls().createServer({
    ...contextOf(credentials, 'server'),
    requestCert: isVerified || credentials.kind === 'pinned',
    rejectUnauthorized: isVerified,
    highWaterMark: QUEUED_BYTES_MAX,
    ...(credentials.kind === 'pre-shared-keys' && {
      pskCallback: (_socket: TLSSocket, user: string) => bufferOf(credentials.keys.get(user)),
    }),
  });
  server.on('secureConnection', (socket) => {
    const owner = waiting.getStore();
    if (owner === undefined) socket.destroy();
    else owner.done(socket);
  });
  server.on('tlsClientError', (error) => waiting.getStore()?.fail(error));
  return (socket) =>
    new Promise((resolve, reject) => {
      socket.once('close', () => reject(socket.errored ?? new Error('it hung up')));
      waiting.run({ done: resolve, fail: reject }, () => server.emit('connection', socket));
    });
}

function clientSide(credentials: TlsCredentials): Handshake {
  const secureContext = tls().createSecureContext(contextOf(credentials, 'client'));
  const key = credentials.kind === 'pre-shared-keys' ? keyOf(credentials) : undefined;
  const isVerified =
    credentials.kind === 'pre-shared-keys' ||
    (credentials.kind === 'certificates' && credentials.verifyPeer);
  return (socket, { hostName }) =>
    new Promise((resolve, reject) => {
      const options: ConnectionOptions & { highWaterMark: number } = {
        socket,
        secureContext,
        rejectUnauthorized: isVerified,
        highWaterMark: QUEUED_BYTES_MAX,
      };
      if (hostName !== undefined) options.host = hostName;
      // An address is no name that a server could choose its certificate by.
      if (hostName !== undefined && isIP(hostName) === 0) options.servername = hostName;
      if (key !== undefined) {
        options.pskCallback = () => key;
        options.checkServerIdentity = onlyWithoutCertificate;
      } else if (hostName === undefined || !isVerified)
        options.checkServerIdentity = () => undefined;
      const secured = tls().connect(options);
      secured.once('secureConnect', () => resolve(secured));
      secured.once('error', reject);
      secured.once('close', () => reject(socket.errored ?? new Error('it hung up')));
    });
}

/** Whoever has the key needs no certificate; whoever shows one does not have the key. */
function onlyWithoutCertificate(_host: string, certificate: object): Error | undefined {
  if (Object.keys(certificate ?? {}).length === 0) return undefined;
  return new Error('it shows a certificate instead of the pre-shared key');
}

function contextOf(credentials: TlsCredentials, role: TlsOptions['role']): SecureContextOptions {
  const base = { minVersion: 'TLSv1.2' } as const;
  if (credentials.kind === 'pre-shared-keys') {
    // No authority at all: no certificate can take the place of the key.
    return { ...base, ciphers: PRE_SHARED_KEY_CIPHERS, ca: [], dhparam: 'auto' };
  }
  if (credentials.kind === 'pinned') {
    const { identity, authorities } = credentials;
    return {
      minVersion: 'TLSv1.3',
      cert: bufferOf(identity.certificates),
      key: bufferOf(identity.key),
      ca: authorities === undefined ? [] : bufferOf(authorities),
    };
  }
  const { identity, authorities, verifyPeer } = credentials;
  if (role === 'server' && identity === undefined) {
    throw tlsError('a TLS server needs a certificate and its key', undefined);
  }
  if (role === 'server' && verifyPeer && authorities === undefined) {
    throw tlsError('clients can only be verified against an authority (CA)', undefined);
  }
  return {
    ...base,
    ...(role === 'server' && { dhparam: 'auto' as const }),
    ...(identity && { cert: bufferOf(identity.certificates)!, key: bufferOf(identity.key)! }),
    ...(authorities && { ca: bufferOf(authorities)! }),
  };
}

function keyOf({ keys, user }: Extract<TlsCredentials, { kind: 'pre-shared-keys' }>) {
  const name = user ?? (keys.size === 1 ? [...keys.keys()][0] : undefined);
  if (name === undefined) {
    throw tlsError(`there are ${keys.size} pre-shared keys and no user to choose one`, undefined);
  }
  const psk = bufferOf(keys.get(name));
  if (psk === null) throw tlsError(`the user "${name}" has no pre-shared key`, undefined);
  return { identity: name, psk };
}

function bufferOf(bytes: Uint8Array): Buffer;
function bufferOf(bytes: Uint8Array | undefined): Buffer | null;
function bufferOf(bytes: Uint8Array | undefined): Buffer | null {
  if (bytes === undefined) return null;
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** OpenSSL's own words; its errors carry file names and addresses around them. */
function reasonOf(error: unknown): string {
  const { reason, message, code } = error as { reason?: string; message?: string; code?: string };
  return reason ?? message ?? code ?? 'unknown';
}

function tlsError(message: string, cause: unknown): EnvError {
  return new EnvError('ENV_TLS', message, {
    hint: 'Compare certificates, authorities, host name or keys on both sides.',
    cause,
  });
}
