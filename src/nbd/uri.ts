/** NBD URIs (doc/uri.md of the NBD project): parsed, checked and written. */
import { type Address, writtenHost } from '../core/index.ts';
import { DEFAULT_PORT } from './constants.ts';
import { NbdError } from './errors.ts';
import { NAME_BYTES_MAX } from './limits.ts';

export type NbdUri = {
  readonly address: Address;
  readonly tls: boolean;
  /** Empty: the server's default export. */
  readonly exportName: string;
  /** What the URI says about TLS; absent if it says nothing. */
  readonly credentials?: UriCredentials;
};

/** Local files that a URI of a person may name; see the NBD URI document, "Query parameters". */
export type UriCredentials = {
  /** The user of a pre-shared key. */
  readonly user?: string;
  /** A directory with ca-cert.pem, and client-cert.pem and client-key.pem if there are any. */
  readonly certificates?: string;
  readonly preSharedKeys?: string;
  /** What the server's certificate must be for, if not the address. */
  readonly hostName?: string;
  readonly verifyPeer?: false;
};

/** The kernel's limit for a unix socket's path, with its final zero byte. */
const SOCKET_PATH_BYTES_MAX = 107;

const shape = /^(nbds?)(?:\+(unix|vsock))?:\/\/([^/?#]*)(\/[^?#]*)?(?:\?([^#]*))?$/i;

/** Fails with NBD_URI and the reason. */
export function parseUri(text: string): NbdUri {
  const parts = shape.exec(text);
  if (parts === null) throw uriError(text, 'it is not of the form nbd://HOST[:PORT]/EXPORT');
  const [, scheme = '', transport = '', authority = '', path = '', query = ''] = parts;
  const tls = scheme.toLowerCase() === 'nbds';
  const exportName = decode(text, path.slice(1));
  if (Buffer.byteLength(exportName) > NAME_BYTES_MAX) {
    throw uriError(text, `the export's name is longer than ${NAME_BYTES_MAX} bytes`);
  }
  const parameters = parseQuery(text, query);
  if (transport.toLowerCase() === 'vsock') throw uriError(text, 'vsock is not supported');
  const credentials = tls ? uriCredentials(text, authority, parameters) : undefined;
  const rest = { tls, exportName, ...(credentials && { credentials }) };
  if (transport === '') return { address: tcpAddress(text, authority), ...rest };
  // With a user (TLS) an authority is allowed, its host never.
  if (authority.replace(/^[^@]*@/, '') !== '') {
    throw uriError(text, 'a unix socket has no host: write nbd+unix:///EXPORT?socket=PATH');
  }
  const socket = parameters.get('socket');
  if (socket === undefined || socket === '') throw uriError(text, 'socket=PATH is missing');
  if (Buffer.byteLength(socket) > SOCKET_PATH_BYTES_MAX) {
    throw uriError(text, `the socket's path is longer than ${SOCKET_PATH_BYTES_MAX} bytes`);
  }
  return { address: { kind: 'unix', path: socket }, ...rest };
}

function uriCredentials(
  text: string,
  authority: string,
  parameters: ReadonlyMap<string, string>,
): UriCredentials | undefined {
  const said = (value: string | undefined) => (value === '' ? undefined : value);
  const user = said(/^([^@]*)@/.exec(authority)?.[1]);
  const certificates = said(parameters.get('tls-certificates'));
  const preSharedKeys = said(parameters.get('tls-psk-file'));
  const hostName = said(parameters.get('tls-hostname'));
  const verify = parameters.get('tls-verify-peer');
  if (verify !== undefined && verify !== 'true' && verify !== 'false') {
    throw uriError(text, 'tls-verify-peer is true or false');
  }
  const credentials: UriCredentials = {
    ...(user !== undefined && { user: decode(text, user) }),
    ...(certificates !== undefined && { certificates }),
    ...(preSharedKeys !== undefined && { preSharedKeys }),
    ...(hostName !== undefined && { hostName }),
    ...(verify === 'false' && { verifyPeer: false as const }),
  };
  return Object.keys(credentials).length > 0 ? credentials : undefined;
}

/** The inverse of `parseUri`; the default port is left out. */
export function formatUri({ address, tls, exportName, credentials = {} }: NbdUri): string {
  const scheme = tls ? 'nbds' : 'nbd';
  const name = encodeURIComponent(exportName);
  const { user } = credentials;
  const userPart = user === undefined ? '' : `${encodeURIComponent(user)}@`;
  const parameters = [
    ['socket', address.kind === 'unix' ? address.path : undefined],
    ['tls-certificates', credentials.certificates],
    ['tls-psk-file', credentials.preSharedKeys],
    ['tls-hostname', credentials.hostName],
    ['tls-verify-peer', credentials.verifyPeer === false ? 'false' : undefined],
  ].flatMap(([key, value]) => (value === undefined ? [] : [`${key}=${encodePath(value)}`]));
  const query = parameters.length > 0 ? `?${parameters.join('&')}` : '';
  if (address.kind === 'unix') return `${scheme}+unix://${userPart}/${name}${query}`;
  const host = writtenHost(address.host);
  const port = address.port === DEFAULT_PORT ? '' : `:${address.port}`;
  return `${scheme}://${userPart}${host}${port}/${name}${query}`;
}

function encodePath(path: string): string {
  return path.split('/').map(encodeURIComponent).join('/');
}

function tcpAddress(text: string, authority: string): Address {
  const parts = /^(?:[^@]*@)?(?:\[([0-9a-f:.]+(?:%25[^\]]+)?)\]|([^:[\]]*))(?::(\d*))?$/i.exec(
    authority,
  );
  if (parts === null) throw uriError(text, `"${authority}" is not a host`);
  const [, address6, name = '', portText = ''] = parts;
  const host = address6 === undefined ? decode(text, name) : address6.replace('%25', '%');
  const port = portText === '' ? DEFAULT_PORT : Number(portText);
  if (port < 1 || port > 65_535) throw uriError(text, `${portText} is not a port`);
  return { kind: 'tcp', host: host === '' ? 'localhost' : host, port };
}

function parseQuery(text: string, query: string): Map<string, string> {
  const parameters = new Map<string, string>();
  for (const part of query.split('&')) {
    const [name = '', value = ''] = part.split(/=(.*)/s);
    const key = decode(text, name);
    if (parameters.has(key)) throw uriError(text, `${key} is given twice`);
    if (key !== '') parameters.set(key, decode(text, value));
  }
  return parameters;
}

function decode(text: string, part: string): string {
  let decoded: string;
  try {
    decoded = decodeURIComponent(part);
  } catch {
    throw uriError(text, `"${part}" is not percent-encoded UTF-8`);
  }
  if (decoded.includes('\0')) throw uriError(text, 'it contains a zero byte');
  return decoded;
}

function uriError(text: string, reason: string): NbdError {
  return new NbdError('NBD_URI', `${text.slice(0, 200)} is not an NBD URI: ${reason}`, {
    hint: 'Examples: nbd://host/disk, nbd+unix:///disk?socket=/run/nbd.sock',
  });
}
