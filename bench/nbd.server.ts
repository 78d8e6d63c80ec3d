/** The server that bench/nbd.ts measures: `nbd.server.ts SOCKET memory:BYTES | file:PATH`. */
import { nodeEnv } from '../src/core/index.ts';
import { memory, openFile } from '../src/device/index.ts';
import { serve } from '../src/nbd/index.ts';

const [socket, source] = process.argv.slice(2) as [string, string];
const env = nodeEnv();
const [kind, rest] = source.split(/:(.*)/s) as [string, string];
const device =
  kind === 'memory'
    ? memory('bench', Number(rest))
    : await openFile(env.files, rest, { readOnly: false });
const server = await serve(env, {
  address: { kind: 'unix', path: socket },
  exports: new Map([['', device]]),
});
process.once('SIGTERM', () => {
  void server.close().then(() => process.exit(0));
});
