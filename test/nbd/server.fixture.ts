/**
 * A server process to kill: `server.fixture.ts SOCKET FILE [forgetful]`. A forgetful one answers
 * flushes and forced writes without forcing anything: tests must find that out.
 */
import { nodeEnv } from '../../src/core/index.ts';
import { type Device, FUA, openFile } from '../../src/device/index.ts';
import { serve } from '../../src/nbd/index.ts';

const [socket, path, manner] = process.argv.slice(2) as [string, string, string | undefined];
const env = nodeEnv();
const device = await openFile(env.files, path, { readOnly: false });

function forgetful(inner: Device): Device {
  return {
    name: inner.name,
    sizeBytes: inner.sizeBytes,
    blockSizes: inner.blockSizes,
    readOnly: false,
    hints: inner.hints,
    durable: true,
    read: (target, offsetBytes) => inner.read(target, offsetBytes),
    write: (source, offsetBytes, flags) => inner.write(source, offsetBytes, flags & ~FUA),
    flush: () => undefined,
    zero: (length, offsetBytes, flags) => inner.zero(length, offsetBytes, flags & ~FUA),
    trim: (length, offsetBytes, flags) => inner.trim(length, offsetBytes, flags & ~FUA),
    extents: (length, offsetBytes, limit) => inner.extents(length, offsetBytes, limit),
    [Symbol.asyncDispose]: () => inner[Symbol.asyncDispose](),
  };
}

await serve(env, {
  address: { kind: 'unix', path: socket },
  exports: new Map([['', manner === 'forgetful' ? forgetful(device) : device]]),
});
