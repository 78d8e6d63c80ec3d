/** Goal: real sockets keep the Stream contract: order, back-pressure, ends, typed errors. */
import assert from 'node:assert/strict';
import { mkdtemp, rename, rm, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { Address, Listener, Stream } from '../env.ts';
import { nodeNet } from './net.ts';
import { canTakeHandles } from './stream.ts';

const net = nodeNet();
let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ferry-net-'));
});
after(() => rm(folder, { recursive: true }));

/** Collects what a stream receives; `closed` resolves with everything. */
function collect(stream: Stream, onBytes?: (total: number) => void) {
  const parts: Buffer[] = [];
  let totalBytes = 0;
  const ended = Promise.withResolvers<Buffer>();
  const closed = Promise.withResolvers<unknown>();
  stream.start({
    onBytes(view) {
      parts.push(Buffer.from(view));
      totalBytes += view.byteLength;
      onBytes?.(totalBytes);
    },
    onDrained() {},
    onEnd: () => ended.resolve(Buffer.concat(parts)),
    onClosed: (error) => closed.resolve(error),
  });
  return { ended: ended.promise, closed: closed.promise };
}

async function pair(address: Address): Promise<{
  listener: Listener;
  server: Stream;
  client: Stream;
}> {
  const accepted = Promise.withResolvers<Stream>();
  const listener = await net.listen(address, accepted.resolve);
  const client = await net.connect(listener.address, 1_000);
  return { listener, client, server: await accepted.promise };
}

const addresses: Record<string, () => Address> = {
  'a unix socket': () => ({ kind: 'unix', path: join(folder, `${Math.random()}.sock`) }),
  TCP: () => ({ kind: 'tcp', host: '127.0.0.1', port: 0 }),
  'TCP over IPv6': () => ({ kind: 'tcp', host: '::1', port: 0 }),
};

test('this Node lets accepted sockets read into a buffer of ours', async () => {
  assert.equal(await canTakeHandles(), true);
});

for (const [name, address] of Object.entries(addresses)) {
  test(`${name} carries many buffers in order in both directions`, async () => {
    const { listener, server, client } = await pair(address());
    const seen = { server: collect(server), client: collect(client) };
    const buffers = Array.from({ length: 2_000 }, (_, at) => Buffer.alloc(1 + at, at));
    let written = 0;
    for (let at = 0; at < buffers.length; at += 10) {
      server.write(buffers.slice(at, at + 10), () => {
        written += 1;
      });
      client.write(buffers.slice(at, at + 10));
    }
    server.end();
    client.end();
    const sent = Buffer.concat(buffers);
    assert.ok((await seen.client.ended).equals(sent));
    assert.ok((await seen.server.ended).equals(sent));
    assert.equal(await seen.server.closed, undefined);
    assert.equal(written, 200);
    await listener.close();
  });
}

test('a reader that pauses stops the writer, and nothing is lost when both go on', async () => {
  const { listener, server, client } = await pair(addresses['a unix socket']!());
  const chunk = Buffer.alloc(256 * 1024, 7);
  let sentBytes = 0;
  let refusals = 0;
  const totalBytes = 16 * 1024 * 1024;
  const fill = () => {
    while (sentBytes < totalBytes) {
      sentBytes += chunk.byteLength;
      if (!server.write([chunk])) {
        refusals += 1;
        return;
      }
    }
    server.end();
  };
  server.start({ onBytes() {}, onDrained: fill, onEnd() {}, onClosed() {} });
  let paused = false;
  const seen = collect(client, (received) => {
    if (received < 1024 * 1024 || paused) return;
    paused = true;
    client.pause();
    queueMicrotask(() => {
      assert.ok(server.queuedBytes <= 2 * 1024 * 1024);
      client.resume();
    });
  });
  fill();
  assert.equal((await seen.ended).byteLength, totalBytes);
  assert.ok(refusals > 1);
  client.destroy();
  await listener.close();
});

test('bytes that arrive before the stream is started are not lost', async () => {
  const { listener, server, client } = await pair(addresses.TCP!());
  collect(client);
  client.write([Buffer.from('early')]);
  client.end();
  await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
  assert.equal((await collect(server).ended).toString(), 'early');
  server.destroy();
  await listener.close();
});

test('a peer that vanishes is told by onClosed, also to one who writes', async () => {
  const { listener, server, client } = await pair(addresses['a unix socket']!());
  const seen = collect(server);
  collect(client);
  client.destroy();
  server.write([Buffer.alloc(1024 * 1024)]);
  server.write([Buffer.alloc(1024 * 1024)]);
  const error = await seen.closed;
  assert.ok(error === undefined || (error as { code: string }).code === 'ENV_CLOSED');
  assert.equal(server.write([Buffer.alloc(1)]), false);
  await listener.close();
});

test('what is sent without waiting ends where the kernel is full, and keeps its place', async () => {
  const { listener, server, client } = await pair(addresses['a unix socket']!());
  const received = collect(client);
  client.pause();
  collect(server);
  const bytes = Uint8Array.from({ length: 100_000 }, (_, at) => at % 251);
  const parts = [bytes.subarray(0, 7), bytes.subarray(7, 60_000), bytes.subarray(60_000)];
  const sent: Uint8Array[] = [];
  let tookBytes = 0;
  do {
    tookBytes = server.writeNow!(parts);
    sent.push(bytes.subarray(0, tookBytes));
  } while (tookBytes === bytes.byteLength);
  assert.ok(sent.length > 1, 'the kernel takes more than one lot');
  const rest = bytes.subarray(tookBytes);
  server.write([rest]);
  sent.push(rest);
  assert.equal(server.writeNow!(parts), 0, 'nothing overtakes what is queued');
  client.resume();
  server.end();
  assert.equal(Buffer.concat(sent).equals(await received.ended), true);
  client.destroy();
  await listener.close();
});

test('nothing is sent without waiting once a stream is gone', async () => {
  const { listener, server, client } = await pair(addresses.TCP!());
  const { closed } = collect(server);
  assert.equal(server.writeNow!([Uint8Array.of(1)]), 1);
  server.destroy();
  assert.equal(server.writeNow!([Uint8Array.of(1)]), 0);
  await closed;
  assert.equal(server.writeNow!([Uint8Array.of(1)]), 0);
  client.destroy();
  await listener.close();
});

test('a listener closes while its streams go on', async () => {
  const { listener, server, client } = await pair(addresses['a unix socket']!());
  await listener.close();
  const seen = collect(client);
  collect(server);
  server.write([Buffer.from('still here')]);
  server.end();
  assert.equal((await seen.ended).toString(), 'still here');
  client.end();
});

test('a stale unix socket file is replaced, one that is listened on is not', async () => {
  const path = join(folder, 'stale.sock');
  const address: Address = { kind: 'unix', path };
  const first = await net.listen(address, (stream) => stream.destroy());
  await assert.rejects(
    net.listen(address, () => {}),
    { code: 'ENV_ADDRESS_IN_USE' },
  );
  assert.ok((await stat(path)).isSocket());
  await first.close();
  await leaveStale(path);
  const second = await net.listen(address, () => {});
  await second.close();
});

/** A socket file whose listener is gone: bound under another name, which close would remove. */
async function leaveStale(path: string): Promise<void> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(`${path}.old`, resolve));
  await rename(`${path}.old`, path);
  await new Promise((resolve) => server.close(resolve));
  assert.ok((await stat(path)).isSocket());
}

test('a file that lies where the socket should be is left alone', async () => {
  const path = join(folder, 'precious');
  await writeFile(path, 'content');
  await assert.rejects(
    net.listen({ kind: 'unix', path }, () => {}),
    {
      code: 'ENV_ADDRESS_IN_USE',
    },
  );
  assert.equal((await stat(path)).size, 7);
});

test('connecting to nobody fails with a typed error', async () => {
  const nobody: Address = { kind: 'unix', path: join(folder, 'nobody') };
  await assert.rejects(net.connect(nobody, 1_000), { code: 'ENV_NOT_FOUND' });
  const { listener, client } = await pair(addresses.TCP!());
  client.destroy();
  await listener.close();
  await assert.rejects(net.connect(listener.address, 1_000), { code: 'ENV_REFUSED' });
});
