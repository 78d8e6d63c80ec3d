/** Opens a server's export: connects, checks what the server claims, and makes a Device of it. */
import type { Env } from '../core/index.ts';
import type { BlockSizes } from '../device/index.ts';
import { Client, type NbdDevice, styles } from './client.ts';
import { openConnection, type Timeouts } from './client-connection.ts';
import { listExports, type Terms, type Wishes } from './client-handshake.ts';
import { TRANSMISSION_CAN_MULTI_CONN, TRANSMISSION_HAS_FLAGS } from './constants.ts';
import { NbdError } from './errors.ts';
import { Inbound } from './inbound.ts';
import {
  ANSWER_TIMEOUT_MS,
  CLIENT_CONNECTIONS_MAX,
  CONNECT_TIMEOUT_MS,
  PAYLOAD_BYTES_MAX,
} from './limits.ts';
import { type NbdUri, parseUri } from './uri.ts';

export type ConnectOptions = {
  /** Several are used only if the server says that they see each other's writes. Default 1. */
  readonly connections?: number;
  readonly connectTimeoutMs?: number;
  /** From a call until its answer; then the connection is given up. */
  readonly answerTimeoutMs?: number;
  /** Meta contexts to ask for beside `base:allocation`, see `status`. */
  readonly contexts?: readonly string[];
  /** Changes nothing at the server, whatever it would permit. */
  readonly readOnly?: boolean;
  /** The newest kind of replies to ask for; for servers that stumble over it. Default: extended. */
  readonly replies?: 'simple' | 'structured' | 'extended';
};

/** Opens the export that `uri` names. Fails with an NbdError or EnvError. */
export async function connect(
  env: Env,
  uri: string | NbdUri,
  options: ConnectOptions = {},
): Promise<NbdDevice> {
  const { address, exportName } = target(uri);
  const timeouts: Timeouts = {
    connectMs: options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS,
    answerMs: options.answerTimeoutMs ?? ANSWER_TIMEOUT_MS,
  };
  const wishes: Wishes = {
    exportName,
    contexts: options.contexts ?? [],
    styleMax: styles.indexOf(options.replies ?? 'extended'),
  };
  const open = () =>
    openConnection(env, () => env.net.connect(address, timeouts.connectMs), wishes, timeouts);
  const connections = [await open()];
  try {
    const { terms } = connections[0]!;
    const sizes = checkTerms(terms, exportName);
    const isShared = (terms.flags & TRANSMISSION_CAN_MULTI_CONN) !== 0;
    const wanted = Math.min(isShared ? (options.connections ?? 1) : 1, CLIENT_CONNECTIONS_MAX);
    while (connections.length < wanted) {
      const next = await open();
      connections.push(next);
      if (next.terms.sizeBytes === terms.sizeBytes && next.terms.flags === terms.flags) continue;
      throw new NbdError('NBD_PROTOCOL', 'two connections see two different exports', {
        hint: 'The export was changed meanwhile; try again.',
      });
    }
    return new Client(connections, sizes, exportName, options.readOnly === true);
  } catch (error) {
    for (const connection of connections) connection.abandon();
    throw error;
  }
}

/** The names of a server's exports; the URI's own export name does not matter. */
export async function list(
  env: Env,
  uri: string | NbdUri,
  timeoutMs = CONNECT_TIMEOUT_MS,
): Promise<string[]> {
  const stream = await env.net.connect(target(uri).address, timeoutMs);
  const inbound = new Inbound(stream);
  const fail = (error: unknown) => inbound.fail(error ?? lostError(stream.peer));
  stream.start({
    onBytes: (view) => inbound.onBytes(view),
    onDrained: () => {},
    onEnd: () => fail(undefined),
    onClosed: fail,
  });
  const limit = env.clock.after(timeoutMs, () => fail(undefined));
  try {
    return await listExports(stream, inbound);
  } finally {
    limit.cancel();
    stream.destroy();
  }
}

function lostError(peer: string): NbdError {
  return new NbdError('NBD_CLOSED', `${peer} did not tell its exports`, {
    hint: 'Look at the server.',
  });
}

function target(uri: string | NbdUri): NbdUri {
  const parsed = typeof uri === 'string' ? parseUri(uri) : uri;
  if (!parsed.tls) return parsed;
  throw new NbdError('NBD_UNSUPPORTED', 'TLS is not supported yet', {
    hint: 'Use a unix socket, or nbd:// over a network that you trust.',
  });
}

/** Refuses what no device can be; answers the block sizes to keep to. */
function checkTerms(terms: Terms, exportName: string): BlockSizes {
  const refuse = (what: string) =>
    new NbdError('NBD_SIZE', `the export "${exportName}" cannot be used: ${what}`, {
      hint: 'The server is faulty, or the volume is larger than 8 PiB.',
    });
  if (!Number.isSafeInteger(terms.sizeBytes)) throw refuse(`it claims ${terms.sizeBytes} bytes`);
  if ((terms.flags & TRANSMISSION_HAS_FLAGS) === 0) throw refuse('its flags are not set');
  const said = terms.blockSizes;
  if (said === undefined) {
    // What the document tells clients to assume.
    return { minimumBytes: 1, preferredBytes: 4096, maximumBytes: PAYLOAD_BYTES_MAX };
  }
  const { minimumBytes, preferredBytes } = said;
  const isPower = (value: number) => value > 0 && (value & (value - 1)) === 0;
  if (!isPower(minimumBytes) || minimumBytes > 64 * 1024) {
    throw refuse(`its smallest block has ${minimumBytes} bytes`);
  }
  if (!isPower(preferredBytes) || preferredBytes < minimumBytes) {
    throw refuse(`it prefers blocks of ${preferredBytes} bytes`);
  }
  const maximumBytes = Math.min(said.maximumBytes, PAYLOAD_BYTES_MAX);
  if (maximumBytes < minimumBytes || maximumBytes % minimumBytes !== 0) {
    throw refuse(`its largest block has ${said.maximumBytes} bytes`);
  }
  if (terms.sizeBytes % minimumBytes !== 0) {
    throw refuse(`${terms.sizeBytes} bytes are not whole blocks of ${minimumBytes}`);
  }
  return { minimumBytes, preferredBytes, maximumBytes };
}
