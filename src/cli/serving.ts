/** Serves one device over NBD until the command is told to stop. */
import { type Address, hasCode, messageOf } from '../core/index.ts';
import type { Device } from '../device/index.ts';
import {
  type NbdServer,
  type ServeTlsOptions,
  type SharedExportOptions,
  serve,
  serveOnThreads,
  type ThreadedServer,
} from '../nbd/index.ts';
import type { Context } from './context.ts';
import type { Fields, State } from './output.ts';
import { serveAt } from './serve-at.ts';
import { formatSize } from './sizes.ts';
import { stopped } from './stopped.ts';

export type Exported = {
  readonly device: Device;
  readonly name: string;
  readonly description: string;
};

export type Serving = {
  /** The first one is what the command is about; a single one is the default export as well. */
  readonly exports: readonly [Exported, ...Exported[]];
  /** Of the socket, where no address is said; by default that of the first export. */
  readonly socketName?: string | undefined;
  readonly readOnly: boolean;
  readonly listen: Address | undefined;
  readonly tls: ServeTlsOptions | undefined;
  /** Several threads, each of which opens the source for itself. */
  readonly threads?: Threads | undefined;
  /** More for programs, and for people. */
  readonly fields: Fields;
  readonly note: string;
  /** More of its state, for SIGUSR1. */
  readonly state?: (() => State) | undefined;
};

export type Threads = Pick<SharedExportOptions, 'source' | 'directIo'> & {
  readonly count: number;
};

/** Prints the URI once clients can connect; returns when all of them have been seen off. */
export async function serveUntilStopped(context: Context, serving: Serving): Promise<void> {
  const { env, output, settings, signal } = context;
  const { exports, readOnly, listen: address } = serving;
  const { device, name } = exports[0];
  const place = { name: serving.socketName ?? name, address };
  await using server = await serveAt(env, settings, place, (at) => begin(context, serving, at));
  const uri = server.uriOf(name);
  const { sizeBytes } = device;
  const isReadOnly = readOnly || device.readOnly;
  const volumes = exports.map((one) => ({
    ...{ name: one.name, uri: server.uriOf(one.name), sizeBytes: one.device.sizeBytes },
  }));
  const lines = exports.map(
    ({ description, device: { sizeBytes: bytes } }, at) =>
      `${volumes[at]!.uri}\n  ${description}, ${formatSize(bytes)}`,
  );
  output.setState(() => stateOf(server, uri, serving.state?.()));
  output.item(
    'status',
    {
      ...{ state: 'ready', uri, name, sizeBytes, readOnly: isReadOnly, ...serving.fields },
      ...(exports.length > 1 && { volumes }),
    },
    `ready: ${lines.join('\n       ')}, ` +
      `${isReadOnly ? 'read-only' : 'writable'}${serving.note}; Ctrl-C stops`,
  );
  const failed = 'failed' in server ? server.failed : new Promise<never>(() => {});
  const failure = await Promise.race([stopped(signal), failed]);
  if (failure !== undefined) throw failure;
}

async function begin(
  { env, output }: Context,
  { exports, readOnly, tls, threads }: Serving,
  address: Address,
): Promise<NbdServer | ThreadedServer> {
  const options = {
    address,
    ...(tls && { tls }),
    onTrouble: (who: string, error: unknown) => {
      if (hasCode(error, 'NBD_THREAD')) output.warn(messageOf(error));
      else output.detail(`${who}: ${messageOf(error)}`);
    },
  };
  if (threads === undefined) {
    return serve(env, {
      ...options,
      exports: new Map(exports.map(({ name, ...one }) => [name, { ...one, readOnly }])),
    });
  }
  const { count, ...source } = threads;
  const { name, description } = exports[0];
  const shared = [{ name, description, readOnly, ...source }];
  return serveOnThreads(env, { ...options, threads: count, exports: shared });
}

function stateOf({ connectionCount }: NbdServer, uri: string, more: State | undefined): State {
  const clients = `${connectionCount} ${connectionCount === 1 ? 'connection' : 'connections'}`;
  return {
    fields: { state: 'serving', uri, connections: connectionCount, ...more?.fields },
    text: `serving ${uri}, ${clients}${more === undefined ? '' : `\n${more.text}`}`,
  };
}
