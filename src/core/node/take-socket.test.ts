/** Goal: a socket taken out of its stream goes on working, unnoticed by the peer. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { hasCode } from '../errors.ts';
import { nodeNet } from './net.ts';
import { takeSocket } from './stream.ts';

const isLinux = process.platform === 'linux';

test('a socket taken from its stream still talks, and the peer hears no end', {
  skip: isLinux ? false : 'only Linux has a driver to hand sockets to',
}, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'ferry-take-'));
  const heard: string[] = [];
  const server = createServer((socket) => {
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => {
      heard.push(text);
      socket.write(`${text}!`);
    });
    socket.on('end', () => heard.push('end'));
  });
  const path = join(folder, 'socket');
  server.listen(path);
  await once(server, 'listening');
  try {
    const stream = await nodeNet().connect({ kind: 'unix', path }, 5_000);
    const closed = Promise.withResolvers<void>();
    const unexpected: string[] = [];
    stream.start({
      onBytes: (view) => void unexpected.push(Buffer.from(view).toString()),
      onDrained: () => {},
      onEnd: () => void unexpected.push('end'),
      onClosed: () => closed.resolve(),
    });
    const descriptor = takeSocket(stream);
    await closed.promise;
    assert.throws(
      () => takeSocket(stream),
      (error) => hasCode(error, 'ENV_UNSUPPORTED'),
    );
    const own = new Socket({ fd: descriptor, readable: true, writable: true });
    own.setEncoding('utf8').write('taken');
    assert.deepEqual(await once(own, 'data'), ['taken!']);
    assert.deepEqual([heard, unexpected], [['taken'], []]);
    own.destroy();
  } finally {
    server.close();
    await rm(folder, { recursive: true });
  }
});
