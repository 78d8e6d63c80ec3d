/** Goal: datagrams of this host come whole, many at once, with their sender; IPv4 and IPv6. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DatagramAddress, DatagramSocket } from '../env.ts';
import { type DatagramCalls, datagramCalls } from './datagram-calls.ts';
import { openDatagrams } from './datagrams.ts';
import { nodeNet } from './net.ts';
import { fromSocketAddress, isSameAddress, toSocketAddress } from './socket-address.ts';

const net = nodeNet();
const BUFFER_BYTES = 4 * 1024 * 1024;

type Heard = { readonly text: string; readonly from: DatagramAddress };

async function listening(host: string, calls: DatagramCalls | null = datagramCalls()) {
  const heard: Heard[] = [];
  const closed = Promise.withResolvers<void>();
  let wake = () => {};
  const socket = await openDatagrams(
    { host, port: 0, bufferBytes: BUFFER_BYTES },
    {
      onDatagram: (view, from) => void heard.push({ text: Buffer.from(view).toString(), from }),
      onBatchEnd: () => wake(),
      onClosed: () => closed.resolve(),
    },
    calls,
  );
  const count = async (wanted: number) => {
    while (heard.length < wanted) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  };
  const close = async (one: DatagramSocket = socket) => {
    one.close();
    await closed.promise;
  };
  return { socket, heard, count, close };
}

for (const [host, calls, how] of [
  ['127.0.0.1', datagramCalls(), 'many at once'],
  ['::1', datagramCalls(), 'many at once'],
  ['127.0.0.1', null, 'one by one'],
  ['::1', null, 'one by one'],
] as const) {
  test(`hundreds of datagrams arrive in order over ${host}, ${how}, with their sender`, async () => {
    const receiver = await listening(host, calls);
    const sender = await listening(host, calls);
    const texts = Array.from({ length: 300 }, (_, at) => `${at}:${'x'.repeat(at)}`);
    const datagrams = texts.map((text) => new Uint8Array(Buffer.from(text)));
    assert.equal(sender.socket.send(datagrams, 300, receiver.socket.address), 300);
    for (const datagram of datagrams) datagram.fill(0);
    await receiver.count(300);
    assert.deepEqual(
      receiver.heard.map(({ text }) => text),
      texts,
    );
    const { from } = receiver.heard.at(-1)!;
    assert.equal(from.port, sender.socket.address.port);
    receiver.socket.send([Uint8Array.of(33)], 1, from);
    await sender.count(1);
    assert.equal(sender.heard[0]!.text, '!');
    await receiver.close();
    await sender.close();
    assert.equal(sender.socket.send([Uint8Array.of(1)], 1, from), 0);
  });
}

test('this Node tells the number of a datagram socket', async () => {
  const { socket, close } = await listening('127.0.0.1');
  assert.ok((socket as unknown as { descriptor: number }).descriptor >= 0);
  await close();
});

test('a port in use is refused with a typed error', async () => {
  const first = await listening('127.0.0.1');
  const { port } = first.socket.address;
  const handlers = { onDatagram() {}, onBatchEnd() {}, onClosed() {} };
  await assert.rejects(
    net.openDatagrams({ host: '127.0.0.1', port, bufferBytes: BUFFER_BYTES }, handlers),
    { code: 'ENV_ADDRESS_IN_USE' },
  );
  await first.close();
});

test('addresses survive the form that the system has for them', () => {
  for (const host of [
    '127.0.0.1',
    '10.1.2.255',
    '::1',
    '2001:db8::ff00:42:8329',
    '::',
    '1:2:3:4:5:6:7:8',
  ]) {
    const bytes = toSocketAddress({ host, port: 65_001 });
    const back = fromSocketAddress(bytes);
    assert.equal(back.port, 65_001);
    assert.ok(isSameAddress(toSocketAddress(back), bytes), host);
    assert.equal(isSameAddress(toSocketAddress({ ...back, port: 1 }), bytes), false);
  }
  assert.deepEqual(fromSocketAddress(toSocketAddress({ host: '10.0.0.7', port: 1 })), {
    ...{ host: '10.0.0.7', port: 1 },
  });
});
