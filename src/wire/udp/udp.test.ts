/** Goal: the UDP lane carries every message once over a bad network, and believes nobody else. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type DatagramFaults, Draws } from '../../../sim/index.ts';
import type { DatagramAddress } from '../../core/index.ts';
import { BLOCK_DATA } from '../messages/index.ts';
import { type Pair, type PairOptions, pause, until, withPair } from '../session.suite.ts';
import { UdpLane } from './udp-lane.ts';

const BODY_BYTES = 30_000;

function udpLanesOf({ client, server }: Pair): UdpLane[] {
  return [client, server].flatMap(({ lanes }) => lanes.filter((lane) => lane instanceof UdpLane));
}

async function open(pair: Pair): Promise<void> {
  await until(pair.world, () => {
    const lanes = udpLanesOf(pair);
    return lanes.length === 2 && lanes.every(({ isReady }) => isReady);
  });
}

/** Sends numbered messages in both directions and checks that each came once, unchanged. */
async function exchange(pair: Pair, count: number): Promise<void> {
  const { world, client, server, atClient, atServer } = pair;
  const before = [atServer.messages.length, atClient.messages.length] as const;
  for (let at = 0; at < count; at += 1) {
    const parts = [Uint8Array.of(at), new Uint8Array(BODY_BYTES).fill(at)];
    while (!client.send({ type: BLOCK_DATA, parts, priority: 2 })) await pause(world, 5);
    if (at % 4 === 0) server.send({ type: BLOCK_DATA, parts, priority: 3 });
  }
  await until(world, () => client.isIdle && server.isIdle);
  for (const [index, { messages }] of [atServer, atClient].entries()) {
    const bodies = messages.slice(before[index]).map(({ body }) => body);
    assert.ok(bodies.every((body) => body.byteLength === 1 + BODY_BYTES));
    assert.ok(bodies.every((body) => body.every((byte) => byte === body[0])));
    const seen = bodies.map((body) => body[0]!).sort((a, b) => a - b);
    const step = index === 0 ? 1 : 4;
    assert.deepEqual(
      seen,
      Array.from({ length: Math.ceil(count / step) }, (_, at) => at * step),
    );
  }
}

const udpOnly: PairOptions = { udp: true, lane: 'udp' };

const networks: Readonly<Record<string, Partial<DatagramFaults>>> = {
  'a good network': {},
  'loss of 1 %': { loss: 0.01, delayMs: 25 },
  'loss of 20 %': { loss: 0.2 },
  'loss of 50 %': { loss: 0.5 },
  'much reordering': { reorder: 0.3, delayMs: 10 },
  duplicates: { duplicate: 0.5 },
  'changed bits': { corrupt: 0.05 },
  'a narrow way': { rateBytesPerMs: 500, queueMs: 30, delayMs: 10 },
  'all at once': { loss: 0.1, reorder: 0.1, duplicate: 0.1, corrupt: 0.05, rateBytesPerMs: 2_000 },
};
for (const [name, faults] of Object.entries(networks)) {
  test(`every message arrives once, unchanged, over ${name}`, async () => {
    await withPair({ ...udpOnly, seed: 11 }, async (pair) => {
      await open(pair);
      pair.world.net.datagrams.setFaults(faults);
      await exchange(pair, 100);
      const [lane] = udpLanesOf(pair);
      assert.ok(lane!.figures.sentPackets > (100 * BODY_BYTES) / 1_200);
      if (name === 'a good network') assert.equal(lane!.figures.retransmittedPackets, 0);
    });
  });
}

test('equal seeds give equal runs, also over datagrams', async () => {
  const run = async () => {
    const world = await withPair({ ...udpOnly, seed: 3 }, async (pair) => {
      await open(pair);
      pair.world.net.datagrams.setFaults({ loss: 0.1, reorder: 0.1 });
      await exchange(pair, 20);
    });
    return world.digest();
  };
  assert.equal(await run(), await run());
});

test('single losses do not slow it down: 1 % of them cost little more than 1 %', async () => {
  await withPair(udpOnly, async (pair) => {
    const { world, client } = pair;
    await open(pair);
    // 100 Mbit/s and 50 ms.
    world.net.datagrams.setFaults({ loss: 0.01, delayMs: 25, rateBytesPerMs: 12_500 });
    const parts = [new Uint8Array(256_000)];
    const fill = () => {
      while (client.send({ type: BLOCK_DATA, parts, priority: 2 }));
    };
    pair.atClient.onRoom = fill;
    fill();
    await pause(world, 1_500);
    const startBytes = client.acknowledgedBytes;
    await pause(world, 2_000);
    const megabits = (8 * (client.acknowledgedBytes - startBytes)) / 2_000_000;
    pair.atClient.onRoom = () => {};
    assert.ok(megabits >= 85, `${megabits} Mbit/s`);
  });
});

test('where datagrams are blocked, data goes by the other lanes within seconds', async () => {
  await withPair({ udp: true, lanes: 2, seed: 4 }, async (pair) => {
    const { world, chooser } = pair;
    world.net.datagrams.setFaults({ isBlocked: true });
    await exchange(pair, 20);
    await pause(world, 4_000);
    assert.equal(chooser.choice.lanes, 'tls');
    assert.match(chooser.choice.reason, /only one/);
  });
});

test('datagrams that stop in the middle lose nothing: the rest goes by the other lanes', async () => {
  await withPair({ udp: true, lanes: 1, seed: 5 }, async (pair) => {
    const { world, client, atServer } = pair;
    await open(pair);
    client.useLanes(client.lanes.filter(({ kind }) => kind === 'udp'));
    world.net.datagrams.setFaults({ isBlocked: true });
    const startMs = world.nowMs;
    await exchange(pair, 20);
    assert.ok(world.nowMs - startMs < 15_000, `${world.nowMs - startMs} ms`);
    assert.ok(atServer.messages.length >= 20);
    assert.equal(pair.chooser.choice.lanes, 'tls');
  });
});

test('a path that drops large datagrams counts as blocked', async () => {
  await withPair({ udp: true, lanes: 1, seed: 6 }, async (pair) => {
    pair.world.net.datagrams.setFaults({ sizeBytesMax: 576 });
    await pause(pair.world, 5_000);
    assert.equal(pair.chooser.choice.lanes, 'tls');
    await exchange(pair, 5);
  });
});

type Datagram = {
  readonly bytes: Uint8Array;
  readonly from: DatagramAddress;
  readonly to: DatagramAddress;
};

test('datagrams that are sent again, or by strangers, change nothing and get no answer', async () => {
  const strangers: DatagramAddress = { host: '6.6.6.6', port: 666 };
  await withPair({ ...udpOnly, seed: 7 }, async (pair) => {
    const { datagrams } = pair.world.net;
    const seen: Datagram[] = [];
    datagrams.onSend = (bytes, from, to) => void seen.push({ bytes: bytes.slice(), from, to });
    await open(pair);
    await exchange(pair, 30);
    let answers = 0;
    datagrams.onSend = (_bytes, _from, to) => {
      if (to.host === strangers.host) answers += 1;
    };
    for (const { bytes, from, to } of seen) {
      datagrams.inject(bytes, from, to);
      datagrams.inject(bytes, strangers, to);
      const changed = bytes.slice();
      changed[changed.byteLength >> 1]! ^= 1;
      datagrams.inject(changed, strangers, to);
      datagrams.inject(bytes.subarray(0, 15), strangers, to);
    }
    await pause(pair.world, 200);
    assert.equal(answers, 0);
    for (const lane of udpLanesOf(pair)) assert.ok(lane.figures.droppedPackets > 0);
    await exchange(pair, 30);
  });
});

test('a sender whose address changes is asked at the new one, and served there', async () => {
  await withPair({ ...udpOnly, seed: 8 }, async (pair) => {
    const { datagrams } = pair.world.net;
    let from: DatagramAddress | undefined;
    datagrams.onSend = (_bytes, source, to) => {
      if (to.port === 7007) from = source;
    };
    await open(pair);
    await exchange(pair, 5);
    const moved: DatagramAddress = { host: '10.9.9.9', port: 4242 };
    datagrams.translate(from!, moved);
    const toMoved: number[] = [];
    let fromMovedBytes = 0;
    datagrams.onSend = (bytes, source, to) => {
      if (source === from) fromMovedBytes += bytes.byteLength;
      if (to.host === moved.host) {
        toMoved.push(bytes[0]!);
        if (toMoved.length === 1) assert.ok(bytes.byteLength <= 3 * fromMovedBytes);
      }
    };
    await exchange(pair, 20);
    assert.ok(toMoved.length > 5, 'the new address is used');
    assert.equal(toMoved[0], 3, 'and was asked first');
  });
});

test('packets of a lane that is gone are ignored', async () => {
  await withPair({ ...udpOnly, seed: 9 }, async (pair) => {
    const { datagrams } = pair.world.net;
    const seen: Datagram[] = [];
    datagrams.onSend = (bytes, from, to) => void seen.push({ bytes: bytes.slice(), from, to });
    await open(pair);
    await exchange(pair, 5);
    pair.client.drop(new Error('cut'));
    await pair.atServer.broken.promise;
    datagrams.onSend = () => assert.fail('nobody answers');
    for (const { bytes, from, to } of seen) datagrams.inject(bytes, from, to);
    await pause(pair.world, 50);
    datagrams.onSend = undefined;
    await open(pair);
    await exchange(pair, 5);
  });
});

test('a flood of garbage leaves nothing behind, and the session unharmed', async () => {
  await withPair({ ...udpOnly, seed: 12 }, async (pair) => {
    const { datagrams } = pair.world.net;
    let genuine: Datagram | undefined;
    datagrams.onSend = (bytes, from, to) => {
      if (to.port === 7007) genuine = { bytes: bytes.slice(), from, to };
    };
    await open(pair);
    datagrams.onSend = (_bytes, _from, to) => assert.notEqual(to.host, '6.6.6.6');
    const draws = new Draws(12);
    for (let count = 0; count < 2_000; count += 1) {
      const bytes = new Uint8Array(draws.below(1_300));
      draws.fill(bytes);
      // Half of them name the lane, and so are looked at.
      if (draws.chance(0.5)) bytes.set(genuine!.bytes.subarray(0, Math.min(5, bytes.length)));
      datagrams.inject(bytes, { host: '6.6.6.6', port: 1 + count }, genuine!.to);
    }
    await exchange(pair, 10);
    assert.equal(pair.host.udpLaneCount, 1);
    assert.ok(pair.host.strayPackets > 500);
  });
});
