/** Serves over NBD at the address of `--listen`, or on a socket in the state directory. */
import { type Address, type Env, hasCode } from '../core/index.ts';
import { usageError } from './errors.ts';
import { fitsSocket } from './listen.ts';
import type { Settings } from './settings.ts';
import { makeStateDirectory, socketsOf } from './state-directory.ts';

/** Servers of one name at the same time. */
const SOCKETS_MAX = 100;

/** Of a volume's name in that of its socket: paths of sockets are short. */
const SOCKET_NAME_MAX = 32;

/** Without an address: on `NAME.sock` in the state directory, `NAME-2.sock` if that is in use. */
export async function serveAt<Server>(
  env: Env,
  settings: Settings,
  { name, address }: { readonly name: string; readonly address: Address | undefined },
  serve: (address: Address) => Promise<Server>,
): Promise<Server> {
  if (address !== undefined) return serve(address);
  const directory = socketsOf(settings);
  await makeStateDirectory(env.files, directory);
  const stem = name.replace(/[^A-Za-z0-9._-]+/g, '-').slice(0, SOCKET_NAME_MAX);
  for (let number = 1; ; number++) {
    const path = `${directory}/${stem}${number === 1 ? '' : `-${number}`}.sock`;
    if (!fitsSocket(path)) throw usageError(`${path} is too long for a socket: use --listen`);
    try {
      return await serve({ kind: 'unix', path });
    } catch (error) {
      if (number === SOCKETS_MAX || !hasCode(error, 'ENV_ADDRESS_IN_USE')) throw error;
    }
  }
}
