/** Opens a server's export: connects, checks what the server claims, and makes a Device of it. */
import type { Env, StreamHandlers, TlsCredentials } from '../core/index.ts';
import type { BlockSizes } from '../device/index.ts';
import { Client, type NbdDevice, styles } from './client.ts';
import {
  type ClientConnection,
  openConnection,
  type Securing,
  type Timeouts,
} from './client-connection.ts';
import { listExports, type Terms, type Wishes } from './client-handshake.ts';
import {
  TRANSMISSION_CAN_MULTI_CONN,
  TRANSMISSION_HAS_FLAGS,
  TRANSMISSION_READ_ONLY,
  TRANSMISSION_SEND_FLUSH,
} from './constants.ts';
import { NbdError } from './errors.ts';
import { Inbound } from './inbound.ts';
import { Lanes } from './lanes.ts';
import {
  ANSWER_TIMEOUT_MS,
  CALL_TIMEOUT_MS,
  CLIENT_CONNECTIONS_MAX,
  CONNECT_TIMEOUT_MS,
  PAYLOAD_BYTES_MAX,
  RECONNECT_TIMEOUT_MS,
  TLS_TIMEOUT_MS,
} from './limits.ts';
import { readUriCredentials } from './tls.ts';
import { type NbdUri, parseUri } from './uri.ts';
import { WriteLog } from './write-log.ts';

export type ConnectOptions = {
  /** Several are used only if the server says that they see each other's writes. Default 1. */
  readonly connections?: number;
  readonly connectTimeoutMs?: number;
  /** From a call until its answer; then the connection is given up. */
  readonly answerTimeoutMs?: number;
  /**
   * How long a server may be away: until then, calls wait, and what was in flight is sent again.
   * Acknowledged writes are kept in memory (64 MiB at most) until they are flushed, and written
   * again too. 0: a lost connection fails the device.
   */
  readonly reconnectTimeoutMs?: number;
  /** Meta contexts to ask for beside `base:allocation`, see `status`. */
  readonly contexts?: readonly string[];
  /** Changes nothing at the server, whatever it would permit. */
  readonly readOnly?: boolean;
  /** The newest kind of replies to ask for; for servers that stumble over it. Default: extended. */
  readonly replies?: 'simple' | 'structured' | 'extended';
  /** For `nbds:` URIs, instead of the files that the URI names. */
  readonly tls?: TlsCredentials;
};

/** Opens the export that `uri` names. Fails with an NbdError or EnvError. */
export async function connect(
  env: Env,
  uri: string | NbdUri,
  options: ConnectOptions = {},
): Promise<NbdDevice> {
  const target = typeof uri === 'string' ? parseUri(uri) : uri;
  const { address, exportName } = target;
  const timeouts: Timeouts = {
    connectMs: options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS,
    answerMs: options.answerTimeoutMs ?? ANSWER_TIMEOUT_MS,
  };
  const wishes: Wishes = {
    exportName,
    contexts: options.contexts ?? [],
    styleMax: styles.indexOf(options.replies ?? 'extended'),
  };
  const securing = await securingOf(env, target, options.tls, timeouts.connectMs);
  const dial = () => env.net.connect(address, timeouts.connectMs);
  const open = () => openConnection(env, dial, wishes, timeouts, securing);
  const first = await open();
  const { terms } = first;
  const again = () => openSame(open, terms);
  const connections = [first];
  try {
    const sizes = checkTerms(terms, exportName);
    const isShared = (terms.flags & TRANSMISSION_CAN_MULTI_CONN) !== 0;
    const wanted = Math.min(isShared ? (options.connections ?? 1) : 1, CLIENT_CONNECTIONS_MAX);
    while (connections.length < wanted) connections.push(await again());
    const readOnly = options.readOnly === true || (terms.flags & TRANSMISSION_READ_ONLY) !== 0;
    const canFlush = (terms.flags & TRANSMISSION_SEND_FLUSH) !== 0;
    const reconnectMs = options.reconnectTimeoutMs ?? RECONNECT_TIMEOUT_MS;
    const lanes = new Lanes(connections, {
      env,
      open: again,
      reconnectMs,
      callMs: Math.max(CALL_TIMEOUT_MS, timeouts.answerMs + reconnectMs),
      log: readOnly || !canFlush || reconnectMs === 0 ? undefined : new WriteLog(),
    });
    return new Client(lanes, terms, sizes, { exportName, readOnly, tls: target.tls });
  } catch (error) {
    for (const connection of connections) connection.abandon();
    throw error;
  }
}

/** One more connection to what must be the same export still. */
async function openSame(
  open: () => Promise<ClientConnection>,
  { sizeBytes, flags, style, blockSizes, contexts }: Terms,
): Promise<ClientConnection> {
  const next = await open();
  const other = next.terms;
  const isSame =
    other.sizeBytes === sizeBytes &&
    other.flags === flags &&
    other.style === style &&
    sameSizes(other.blockSizes, blockSizes) &&
    sameContexts(other.contexts, contexts);
  if (isSame) return next;
  next.abandon();
  throw new NbdError('NBD_PROTOCOL', 'two connections see two different exports', {
    hint: 'The export was changed meanwhile; open it again.',
  });
}

function sameSizes(a: BlockSizes | undefined, b: BlockSizes | undefined): boolean {
  return (
    a?.minimumBytes === b?.minimumBytes &&
    a?.preferredBytes === b?.preferredBytes &&
    a?.maximumBytes === b?.maximumBytes
  );
}

function sameContexts(a: Terms['contexts'], b: Terms['contexts']): boolean {
  return a.size === b.size && [...a].every(([name, id]) => b.get(name) === id);
}

export type ListOptions = Pick<ConnectOptions, 'connectTimeoutMs' | 'tls'>;

/** The names of a server's exports; the URI's own export name does not matter. */
export async function list(
  env: Env,
  uri: string | NbdUri,
  options: ListOptions = {},
): Promise<string[]> {
  const timeoutMs = options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS;
  const target = typeof uri === 'string' ? parseUri(uri) : uri;
  const securing = await securingOf(env, target, options.tls, timeoutMs);
  let stream = await env.net.connect(target.address, timeoutMs);
  const inbound = new Inbound(stream);
  const fail = (error: unknown) => inbound.fail(error ?? lostError(stream.peer));
  const handlers: StreamHandlers = {
    onBytes: (view) => inbound.onBytes(view),
    onDrained: () => {},
    onEnd: () => fail(undefined),
    onClosed: fail,
  };
  stream.start(handlers);
  const secure =
    securing &&
    (async () => {
      stream = await securing(stream);
      inbound.moveTo(stream);
      stream.start(handlers);
      return stream;
    });
  const limit = env.clock.after(timeoutMs, () => fail(undefined));
  try {
    return await listExports(stream, inbound, secure);
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

/** Undefined for `nbd:`; credentials in the options come before those that the URI names. */
export async function securingOf(
  env: Env,
  { address, tls, credentials = {} }: NbdUri,
  given: TlsCredentials | undefined,
  connectMs: number,
): Promise<Securing> {
  if (!tls) return undefined;
  const read = given ?? (await readUriCredentials(env.files, credentials));
  const context = env.net.tls({ role: 'client', credentials: read });
  const hostName = credentials.hostName ?? (address.kind === 'tcp' ? address.host : undefined);
  const timeoutMs = Math.min(connectMs, TLS_TIMEOUT_MS);
  return (stream) => context.secure(stream, { hostName, timeoutMs });
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
