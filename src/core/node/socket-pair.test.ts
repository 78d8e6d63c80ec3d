/** Goal: what is said to one end of a pair comes out of the other, and so does its end. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Socket } from 'node:net';
import { test } from 'node:test';
import { openSocketPair } from './socket-pair.ts';

const isLinux = process.platform === 'linux';

test('both ends of a pair talk, and hear when the other is gone', {
  skip: isLinux ? false : 'only Linux has a driver to hand sockets to',
}, async () => {
  const { stream, descriptor } = openSocketPair('the other end');
  const heard: string[] = [];
  const ended = Promise.withResolvers<void>();
  stream.start({
    onBytes: (view) => {
      heard.push(Buffer.from(view).toString());
      stream.write([Buffer.from('and back')]);
    },
    onDrained: () => {},
    onEnd: () => ended.resolve(),
    onClosed: () => {},
  });
  const other = new Socket({ fd: descriptor, readable: true, writable: true });
  other.setEncoding('utf8').write('there');
  assert.deepEqual(await once(other, 'data'), ['and back']);
  assert.deepEqual(heard, ['there']);
  other.destroy();
  await ended.promise;
  stream.destroy();
});
