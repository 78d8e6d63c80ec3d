/** Where a server listens, as `--listen` says it. */
import { resolve } from 'node:path';
import type { Address } from '../core/index.ts';
import type { OptionSpec } from './spec.ts';

const UNIX = 'unix:';
const written = /^(?:\[([0-9a-f:.]+)\]|([^:[\]\s]+)):(\d{1,5})$/i;

/** The kernel's limit for a socket's path, its final zero byte excluded. */
const SOCKET_PATH_BYTES_MAX = 107;

export const listen: OptionSpec<Address | undefined> = {
  help: 'HOST:PORT or unix:PATH; port 0 picks a free one',
  placeholder: 'ADDR',
  defaultText: 'a unix socket in the state directory',
  parse: (texts) => (texts.length === 0 ? undefined : parseAddress(texts.at(-1)!)),
};

/** Throws a plain Error. */
export function parseAddress(text: string): Address {
  if (text.startsWith(UNIX) && text.length > UNIX.length) {
    const path = resolve(text.slice(UNIX.length));
    if (fitsSocket(path)) return { kind: 'unix', path };
    throw new Error(`a socket path has at most ${SOCKET_PATH_BYTES_MAX} bytes: ${path}`);
  }
  const match = written.exec(text);
  const port = Number(match?.[3] ?? Number.NaN);
  if (match !== null && port <= 65_535) {
    return { kind: 'tcp', host: match[1] ?? match[2]!, port };
  }
  throw new Error(`'${text}' is no address; write HOST:PORT, [IPV6]:PORT or unix:PATH`);
}

/** Whether the kernel takes it as a socket's path. */
export function fitsSocket(path: string): boolean {
  return Buffer.byteLength(path) <= SOCKET_PATH_BYTES_MAX;
}
