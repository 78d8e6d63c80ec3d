/** Where a server listens: what `--listen` says, or a socket of its own in the state directory. */
import { resolve } from 'node:path';
import { type Address, type Env, hasCode } from '../core/index.ts';
import { type NbdServer, type ServeOptions, serve } from '../nbd/index.ts';
import { usageError } from './errors.ts';
import type { Settings } from './settings.ts';
import type { OptionSpec } from './spec.ts';
import { makeStateDirectory } from './state-directory.ts';

const UNIX = 'unix:';
const written = /^(?:\[([0-9a-f:.]+)\]|([^:[\]\s]+)):(\d{1,5})$/i;

/** The kernel's limit for a socket's path, its final zero byte excluded. */
const SOCKET_PATH_BYTES_MAX = 107;

/** Servers of one name at the same time. */
const SOCKETS_MAX = 100;

/** Of a volume's name in that of its socket: paths of sockets are short. */
const SOCKET_NAME_MAX = 32;

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

/** Without an address: on `NAME.sock` in the state directory, `NAME-2.sock` if that is in use. */
export async function serveAt(
  env: Env,
  settings: Settings,
  address: Address | undefined,
  options: Omit<ServeOptions, 'address'> & { readonly name: string },
): Promise<NbdServer> {
  if (address !== undefined) return serve(env, { ...options, address });
  const directory = resolve(settings.stateDirectory, 'sockets');
  await makeStateDirectory(env.files, directory);
  const name = options.name.replace(/[^A-Za-z0-9._-]+/g, '-').slice(0, SOCKET_NAME_MAX);
  for (let number = 1; ; number++) {
    const path = `${directory}/${name}${number === 1 ? '' : `-${number}`}.sock`;
    if (!fitsSocket(path)) throw usageError(`${path} is too long for a socket: use --listen`);
    try {
      return await serve(env, { ...options, address: { kind: 'unix', path } });
    } catch (error) {
      if (number === SOCKETS_MAX || !hasCode(error, 'ENV_ADDRESS_IN_USE')) throw error;
    }
  }
}

function fitsSocket(path: string): boolean {
  return Buffer.byteLength(path) <= SOCKET_PATH_BYTES_MAX;
}
