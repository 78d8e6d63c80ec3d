/** TCP and unix sockets of this host. */
import { closeSync } from 'node:fs';
import { lstat, unlink } from 'node:fs/promises';
import {
  type AddressInfo,
  createServer,
  connect as netConnect,
  type Server,
  type Socket,
} from 'node:net';
import { dirname } from 'node:path';
import type { Address, Listener, Net, Stream } from '../env.ts';
import { EnvError } from '../errors.ts';
import { writtenAddress } from '../written-address.ts';
import { openDatagrams } from './datagrams.ts';
import { posixName, toEnvError } from './posix-error.ts';
import {
  adoptSocket,
  canTakeHandles,
  socketOptions,
  streamOf,
  takeOver,
  takeSocket,
} from './stream.ts';
import { nodeTls } from './tls.ts';

/** Connections that the kernel keeps while the process is busy; the kernel may lower it. */
const BACKLOG_MAX = 1024;

/** How long an existing socket file gets to show that somebody listens on it. */
const PROBE_TIMEOUT_MS = 1_000;

export function nodeNet(): Net {
  return {
    listen,
    connect,
    openDatagrams,
    tls: nodeTls,
    handOver: takeSocket,
    adopt: adoptSocket,
    discard: closeSync,
  };
}

async function listen(address: Address, onStream: (stream: Stream) => void): Promise<Listener> {
  const takesHandles = await canTakeHandles();
  const server = createServer({ pauseOnConnect: true, ...socketOptions }, (socket) => {
    onStream(takesHandles ? takeOver(socket, peerOf(socket, address)) : accept(socket, address));
  });
  try {
    await bind(server, address);
  } catch (error) {
    if (posixName(error) !== 'EADDRINUSE' || !(await removeStale(address))) {
      throw toEnvError(await withoutFolder(error, address), 'listen on', writtenAddress(address));
    }
    await bind(server, address).catch((again: unknown) => {
      throw toEnvError(again, 'listen on', writtenAddress(address));
    });
  }
  // Failing to accept one connection (EMFILE, ECONNABORTED) must not end the server.
  server.on('error', () => {});
  return {
    address: address.kind === 'unix' ? address : bound(server, address.host),
    close: () => new Promise((resolve) => server.close(() => resolve())),
  };
}

/** Node says EACCES of a unix socket in a folder that is not there. */
async function withoutFolder(error: unknown, address: Address): Promise<unknown> {
  if (address.kind !== 'unix' || posixName(error) !== 'EACCES') return error;
  const folder = dirname(address.path);
  return await lstat(folder).then(
    () => error,
    (missing: unknown) =>
      toEnvError(missing, `listen on ${writtenAddress(address)}, for it lies in`, folder),
  );
}

function accept(socket: Socket, address: Address): Stream {
  return streamOf(socket, peerOf(socket, address));
}

function bind(server: Server, address: Address): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ ...address, backlog: BACKLOG_MAX }, () => {
      server.removeListener('error', reject);
      resolve();
    });
  });
}

/**
 * True if `address` was a unix socket file that nobody listens on; it is gone then. Anything else
 * that lies there, a file for example, is not ours to remove.
 */
async function removeStale(address: Address): Promise<boolean> {
  if (address.kind !== 'unix') return false;
  const found = await lstat(address.path).catch(() => undefined);
  if (found === undefined) return true;
  if (!found.isSocket()) return false;
  try {
    (await connect(address, PROBE_TIMEOUT_MS)).destroy();
    return false;
  } catch (error) {
    if (!(error instanceof EnvError) || error.code !== 'ENV_REFUSED') return false;
  }
  await unlink(address.path).catch((error: unknown) => {
    if (posixName(error) !== 'ENOENT') throw toEnvError(error, 'replace', address.path);
  });
  return true;
}

function connect(address: Address, timeoutMs: number): Promise<Stream> {
  return new Promise((resolve, reject) => {
    // The stream sets its reader before the first byte can arrive: reading starts with `start`.
    const { socket, stream } = streamOf.connecting(
      (options) => netConnect({ ...address, ...options }),
      writtenAddress(address),
    );
    const timer = setTimeout(() => {
      const error = new EnvError(
        'ENV_TIMEOUT',
        `no connection to ${writtenAddress(address)} within ${timeoutMs} ms`,
        { hint: 'Check the network and the other side.' },
      );
      socket.destroy(error);
    }, timeoutMs);
    const failed = (error: unknown) => {
      clearTimeout(timer);
      reject(toEnvError(error, 'connect to', writtenAddress(address)));
    };
    socket.once('error', failed);
    socket.once('connect', () => {
      clearTimeout(timer);
      socket.removeListener('error', failed);
      socket.pause();
      resolve(stream());
    });
  });
}

function bound(server: Server, host: string): Address {
  return { kind: 'tcp', host, port: (server.address() as AddressInfo).port };
}

function peerOf(socket: Socket, address: Address): string {
  if (address.kind === 'unix') return writtenAddress(address);
  return `${socket.remoteAddress ?? 'unknown'}:${socket.remotePort ?? 0}`;
}
