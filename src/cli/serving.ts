/** Serves one device over NBD until the command is told to stop. */
import type { Address } from '../core/index.ts';
import type { Device } from '../device/index.ts';
import type { NbdServer, ServeTlsOptions } from '../nbd/index.ts';
import type { Context } from './context.ts';
import type { Fields } from './output.ts';
import { serveAt } from './serve-at.ts';
import { formatSize } from './sizes.ts';

export type Serving = {
  readonly device: Device;
  /** The export's name; it is the default export as well. */
  readonly name: string;
  readonly description: string;
  readonly readOnly: boolean;
  readonly listen: Address | undefined;
  readonly tls: ServeTlsOptions | undefined;
  /** More for programs, and for people. */
  readonly fields: Fields;
  readonly note: string;
};

/** Prints the URI once clients can connect; returns when all of them have been seen off. */
export async function serveUntilStopped(context: Context, serving: Serving): Promise<void> {
  const { env, output, settings, signal } = context;
  const { device, name, description, readOnly } = serving;
  const exports = new Map([[name, { device, description, readOnly }]]);
  await using server = await serveAt(env, settings, serving.listen, {
    name,
    exports,
    ...(serving.tls && { tls: serving.tls }),
    onTrouble: (peer, error) => output.detail(`${peer}: ${messageOf(error)}`),
  });
  const uri = server.uriOf(name);
  const { sizeBytes } = device;
  const isReadOnly = readOnly || device.readOnly;
  output.setState(() => stateOf(server, uri));
  output.item(
    'status',
    { state: 'ready', uri, name, sizeBytes, readOnly: isReadOnly, ...serving.fields },
    `ready: ${uri}\n  ${description}, ${formatSize(sizeBytes)}, ` +
      `${isReadOnly ? 'read-only' : 'writable'}${serving.note}; Ctrl-C stops`,
  );
  await stopped(signal);
}

function stopped(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

function stateOf({ connectionCount }: NbdServer, uri: string) {
  const clients = `${connectionCount} ${connectionCount === 1 ? 'connection' : 'connections'}`;
  return {
    fields: { state: 'serving', uri, connections: connectionCount },
    text: `serving ${uri}, ${clients}`,
  };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
