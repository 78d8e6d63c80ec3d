/** TLS as NBD uses it: who demands it, and credentials read from the files that tools share. */
import {
  type Files,
  type Net,
  type OpenFile,
  readFully,
  type Tls,
  type TlsCredentials,
  unlessMissing,
} from '../core/index.ts';
import { NbdError } from './errors.ts';
import { CREDENTIALS_BYTES_MAX } from './limits.ts';
import type { UriCredentials } from './uri.ts';

export type ServeTlsOptions = {
  /** `require`: without TLS a client gets nothing. `allow`: it may begin TLS, or not. */
  readonly mode: 'require' | 'allow';
  readonly credentials: TlsCredentials;
};

export type ServerTls = { readonly isRequired: boolean; readonly tls: Tls };

export function serverTls(net: Net, { mode, credentials }: ServeTlsOptions): ServerTls {
  return { isRequired: mode === 'require', tls: net.tls({ role: 'server', credentials }) };
}

/** Paths of PEM files, or of a file of pre-shared keys, as GnuTLS's tools write them. */
export type CredentialFiles = {
  readonly certificates?: string | undefined;
  readonly key?: string | undefined;
  readonly authorities?: string | undefined;
  readonly verifyPeer?: boolean | undefined;
  readonly preSharedKeys?: string | undefined;
  readonly user?: string | undefined;
};

/** Fails with NBD_TLS if the files do not fit together, with an EnvError if one cannot be read. */
export async function readCredentials(
  files: Files,
  paths: CredentialFiles,
): Promise<TlsCredentials> {
  const { certificates, key, authorities, preSharedKeys, user } = paths;
  if (preSharedKeys !== undefined) {
    if ((certificates ?? key ?? authorities) !== undefined) {
      throw badCredentials('pre-shared keys and certificates exclude each other');
    }
    const text = new TextDecoder().decode(await readSmall(files, preSharedKeys));
    return { kind: 'pre-shared-keys', keys: parseKeys(text, preSharedKeys), user };
  }
  if ((certificates === undefined) !== (key === undefined)) {
    throw badCredentials('a certificate and its key belong together');
  }
  const identity = certificates !== undefined &&
    key !== undefined && {
      certificates: await readSmall(files, certificates),
      key: await readSmall(files, key),
    };
  return {
    kind: 'certificates',
    identity: identity || undefined,
    authorities: authorities === undefined ? undefined : await readSmall(files, authorities),
    verifyPeer: paths.verifyPeer ?? true,
  };
}

/** What an `nbds:` URI names; in a directory the files have the names that libnbd looks for. */
export async function readUriCredentials(
  files: Files,
  uri: UriCredentials,
): Promise<TlsCredentials> {
  const { user, verifyPeer, certificates: directory, preSharedKeys } = uri;
  if (preSharedKeys !== undefined) {
    if (directory !== undefined) throw badCredentials('a URI names certificates or a PSK file');
    return await readCredentials(files, { preSharedKeys, user });
  }
  if (directory === undefined) return await readCredentials(files, { verifyPeer });
  const certificates = `${directory}/client-cert.pem`;
  const key = `${directory}/client-key.pem`;
  const own = (await exists(files, certificates)) ? { certificates, key } : {};
  const authorities = `${directory}/ca-cert.pem`;
  return await readCredentials(files, { ...own, authorities, verifyPeer });
}

/** Lines of `user:key`, the key in hexadecimal digits. */
export function parseKeys(text: string, path: string): Map<string, Uint8Array> {
  const keys = new Map<string, Uint8Array>();
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (line.trim() === '' || line.startsWith('#')) continue;
    const [, user, digits] = /^([^:]+):((?:[0-9a-f]{2})+)\s*$/i.exec(line) ?? [];
    // The line itself is a secret.
    if (user === undefined || digits === undefined) {
      throw badCredentials(`${path}, line ${index + 1}, is not of the form user:hexkey`);
    }
    if (keys.has(user)) throw badCredentials(`${path} has two keys for "${user}"`);
    keys.set(user, Uint8Array.from(Buffer.from(digits, 'hex')));
  }
  if (keys.size === 0) throw badCredentials(`${path} has no keys`);
  return keys;
}

async function exists(files: Files, path: string): Promise<boolean> {
  return (await unlessMissing(files.stat(path))) !== undefined;
}

async function readSmall(files: Files, path: string): Promise<Uint8Array> {
  const file: OpenFile = await files.open(path, 'read');
  try {
    const { sizeBytes, kind } = await file.stat();
    if (kind !== 'file' || sizeBytes > CREDENTIALS_BYTES_MAX) {
      throw badCredentials(`${path} is no file of at most ${CREDENTIALS_BYTES_MAX} bytes`);
    }
    const bytes = new Uint8Array(sizeBytes);
    await readFully(file, bytes, 0);
    return bytes;
  } finally {
    await file.close();
  }
}

function badCredentials(message: string): NbdError {
  return new NbdError('NBD_TLS', message, { hint: 'See docs/using/nbd.md, under TLS.' });
}
