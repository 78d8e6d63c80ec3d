/** NBD URIs (doc/uri.md of the NBD project): parsed, checked and written. */
import type { Address } from '../core/index.ts';
import { DEFAULT_PORT } from './constants.ts';
import { NbdError } from './errors.ts';
import { NAME_BYTES_MAX } from './limits.ts';

export type NbdUri = {
  readonly address: Address;
  readonly tls: boolean;
  /** Empty: the server's default export. */
  readonly exportName: string;
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
  if (transport === '') return { address: tcpAddress(text, authority), tls, exportName };
  // With a user (TLS) an authority is allowed, its host never.
  if (authority.replace(/^[^@]*@/, '') !== '') {
    throw uriError(text, 'a unix socket has no host: write nbd+unix:///EXPORT?socket=PATH');
  }
  const socket = parameters.get('socket');
  if (socket === undefined || socket === '') throw uriError(text, 'socket=PATH is missing');
  if (Buffer.byteLength(socket) > SOCKET_PATH_BYTES_MAX) {
    throw uriError(text, `the socket's path is longer than ${SOCKET_PATH_BYTES_MAX} bytes`);
  }
  return { address: { kind: 'unix', path: socket }, tls, exportName };
}

export function isUri(text: string): boolean {
  return /^nbds?(\+unix|\+vsock)?:/i.test(text);
}

/** The inverse of `parseUri`; the default port is left out. */
export function formatUri({ address, tls, exportName }: NbdUri): string {
  const scheme = tls ? 'nbds' : 'nbd';
  const name = encodeURIComponent(exportName);
  if (address.kind === 'unix') {
    const path = address.path.split('/').map(encodeURIComponent).join('/');
    return `${scheme}+unix:///${name}?socket=${path}`;
  }
  const host = address.host.includes(':') ? `[${address.host}]` : address.host;
  const port = address.port === DEFAULT_PORT ? '' : `:${address.port}`;
  return `${scheme}://${host}${port}/${name}`;
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
