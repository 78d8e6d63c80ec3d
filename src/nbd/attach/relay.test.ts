/** Goal: a relay carries everything both ways, waits for slow sides, and ends with them. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { Socket } from 'node:net';
import { test } from 'node:test';
import { nodeEnv, nodeKernel } from '../../core/index.ts';
import { relay } from './relay.ts';

const isLinux = process.platform === 'linux';
const only = { skip: isLinux ? false : 'socket pairs are made on Linux only' };
const { clock } = nodeEnv();

/** The relay's outer ends. */
function relayed(): { kernel: Socket; server: Socket } {
  const near = nodeKernel().openSocketPair('the kernel');
  const far = nodeKernel().openSocketPair('the server');
  far.stream.start(relay(clock, near.stream, far.stream));
  const outer = (fd: number) => new Socket({ fd, readable: true, writable: true });
  return { kernel: outer(near.descriptor), server: outer(far.descriptor) };
}

test('megabytes pass in both directions, at the pace of the one who reads', only, async () => {
  const { kernel, server } = relayed();
  const sent = Buffer.alloc(12 * 2 ** 20);
  for (let at = 0; at < sent.byteLength; at += 4)
    sent.writeUInt32LE(Math.imul(at, 2654435761) >>> 0, at);
  const digest = createHash('sha256').update(sent).digest('hex');
  for (const [from, to] of [
    [kernel, server],
    [server, kernel],
  ] as const) {
    const hash = createHash('sha256');
    let bytes = 0;
    const whole = Promise.withResolvers<void>();
    let isWritten = false;
    from.write(sent, () => {
      isWritten = true;
    });
    // More than all sockets and queues between hold: it must have waited for the reader.
    await once(to, 'readable');
    assert.equal(isWritten, false);
    to.on('data', (view: Buffer) => {
      hash.update(view);
      bytes += view.byteLength;
      if (bytes === sent.byteLength) whole.resolve();
    });
    await whole.promise;
    assert.equal(hash.digest('hex'), digest);
    to.removeAllListeners('data');
    to.pause();
  }
  kernel.destroy();
  server.destroy();
});

for (const side of ['kernel', 'server'] as const) {
  test(
    `when the ${side} ends, the other side gets what is under way, and then the end`,
    only,
    async () => {
      const ends = relayed();
      const other = ends[side === 'kernel' ? 'server' : 'kernel'];
      const heard: string[] = [];
      other.setEncoding('utf8').on('data', (text: string) => heard.push(text));
      ends[side].end('last words');
      await once(other, 'end');
      assert.equal(heard.join(''), 'last words');
      other.destroy();
      ends[side].destroy();
    },
  );
}
