/** nbd-server of the Linux NBD project as a peer: it takes its orders from a file, and forks. */
import { readFile, writeFile } from 'node:fs/promises';
import { listening, start } from './processes.ts';

export type NbdServerOrders = {
  readonly socket: string;
  /** What is served, as `disk`. */
  readonly path: string;
  /** Lines for the server itself, for example about TLS. */
  readonly general?: string;
  /** Lines for the export. */
  readonly more?: string;
};

/** It listens when this resolves; disposing ends it and its children. Files lie beside `path`. */
export async function startNbdServer(
  tool: string,
  { socket, path, general = '', more = '' }: NbdServerOrders,
): Promise<AsyncDisposable> {
  const lines = [
    ...['[generic]', 'listenaddr = 127.0.0.1', 'port = 00', `unixsock = ${socket}`],
    ...['allowlist = true', general],
    ...['[disk]', `exportname = ${path}`, 'flush = true', 'fua = true', 'trim = true', more],
  ];
  // Port 0 would mean stdin, as for inetd; written otherwise it is any free one.
  await writeFile(`${path}.conf`, `${lines.join('\n')}\n`);
  // Without a fork it would serve one client and end.
  await using starter = start(tool, ['-C', `${path}.conf`, '-p', `${path}.pid`]);
  const { exitCode, stderr } = await starter.finished();
  if (exitCode !== 0) throw new Error(`nbd-server did not start: ${stderr}`);
  await listening(socket);
  return {
    async [Symbol.asyncDispose]() {
      process.kill(Number(await readFile(`${path}.pid`, 'utf8')), 'SIGTERM');
    },
  };
}
