/** Exports of `ferry` that benchmarks write to. */
import { type Running, start } from '../test/interop/processes.ts';
import { ferry } from './package.ts';

export type Exported = {
  readonly image: string;
  readonly name: string;
  readonly socket: string;
};

/** Resolves when it can be connected to. */
export async function startExport(
  { image, name, socket }: Exported,
  env: NodeJS.ProcessEnv,
  more: readonly string[] = [],
): Promise<Running> {
  const words = [ferry, 'export', image, '--name', name, '--listen', `unix:${socket}`, ...more];
  const server = start(process.execPath, words, { env });
  await server.socket(socket);
  return server;
}
