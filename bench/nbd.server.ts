/**
 * A server in memory for the row about Env: `nbd.server.ts SOCKET seam | bare`. The bare one reads
 * and writes its sockets through Node's own calls, without the Stream in between.
 */
import { createServer } from 'node:net';
import { type Env, nodeEnv, type Stream } from '../src/core/index.ts';
import { memory } from '../src/device/index.ts';
import { serve } from '../src/nbd/index.ts';

const VOLUME_BYTES = 1024 * 1024 * 1024;
const READ_BUFFER_BYTES = 256 * 1024;
const [socket, kind] = process.argv.slice(2) as [string, 'seam' | 'bare'];

/** What Node's handle offers and its types hide. */
type Accepted = { _handle: unknown };

/** The same calls to the kernel, as directly as JavaScript can make them. */
async function bareEnv(): Promise<Env> {
  const { Socket } = await import('node:net');
  const env = nodeEnv();
  const shared = new Uint8Array(READ_BUFFER_BYTES);
  return {
    ...env,
    net: {
      ...env.net,
      listen: (address, onStream) =>
        new Promise((resolve) => {
          const server = createServer({ pauseOnConnect: true }, (accepted) => {
            let onBytes: (view: Uint8Array) => void = () => {};
            const from = accepted as unknown as Accepted;
            const options = {
              handle: from._handle,
              manualStart: true,
              allowHalfOpen: true,
              onread: {
                buffer: shared,
                callback(lengthBytes: number) {
                  onBytes(shared.subarray(0, lengthBytes));
                  return true;
                },
              },
            };
            const bare = new Socket(options as ConstructorParameters<typeof Socket>[0]);
            from._handle = null;
            bare.on('error', () => {});
            const stream: Stream = {
              peer: 'bare',
              start(handlers) {
                onBytes = handlers.onBytes;
                bare.on('drain', handlers.onDrained);
                bare.on('end', handlers.onEnd);
                bare.on('close', () => handlers.onClosed(undefined));
                bare.resume();
              },
              write(buffers, written) {
                if (buffers.length === 1) return bare.write(buffers[0]!, written);
                bare.cork();
                for (const bytes of buffers.slice(0, -1)) bare.write(bytes);
                bare.write(buffers.at(-1)!, written);
                bare.uncork();
                return true;
              },
              get queuedBytes() {
                return bare.writableLength;
              },
              pause: () => void bare.pause(),
              resume: () => void bare.resume(),
              end: () => void bare.end(),
              destroy: () => void bare.destroy(),
            };
            onStream(stream);
          });
          const path = address.kind === 'unix' ? address.path : '';
          server.listen(path, () => {
            resolve({ address, close: () => new Promise((done) => server.close(() => done())) });
          });
        }),
    },
  };
}

const server = await serve(kind === 'bare' ? await bareEnv() : nodeEnv(), {
  address: { kind: 'unix', path: socket },
  exports: new Map([['', memory('bench', VOLUME_BYTES)]]),
});
process.once('SIGTERM', () => {
  void server.close().then(() => process.exit(0));
});
