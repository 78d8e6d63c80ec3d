/** Goal: `auto` takes the lanes that carry more, says why, and notices when the link changes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { World } from '../../sim/index.ts';
import type { Lane, LaneKind } from './lane.ts';
import { type ChosenFor, LaneChooser } from './lane-chooser.ts';
import { BLOCK_DATA } from './messages/index.ts';
import { type Pair, pause, until, withPair } from './session.suite.ts';

/** Keeps the session busy until the returned function is called. */
function busy({ world, client, atClient, atServer }: Pair): () => void {
  let isBusy = true;
  // What a receiver finishes late bounds each lane by its credit, so that little is simulated.
  atServer.take = (message) => void world.env.clock.after(700, () => message.done());
  const parts = [new Uint8Array(250_000)];
  const fill = () => {
    while (isBusy && client.send({ type: BLOCK_DATA, parts, priority: 2 }));
  };
  atClient.onRoom = fill;
  fill();
  return () => {
    isBusy = false;
  };
}

test('the lanes that carry more are taken, and the reason has the figures', async () => {
  await withPair({ udp: true, lanes: 2, seed: 21, farMs: 2 }, async (pair) => {
    const { world, chooser } = pair;
    world.net.datagrams.setFaults({ rateBytesPerMs: 400 });
    const stop = busy(pair);
    await until(world, () => chooser.choice.measured.size === 2);
    assert.equal(chooser.choice.lanes, 'tls');
    assert.match(chooser.choice.reason, /^tls [\d.]+ Mbit\/s, udp [\d.]+ Mbit\/s$/);
    const { measured } = chooser.choice;
    assert.ok(measured.get('tls')! > measured.get('udp')!);
    stop();
    await until(world, () => pair.client.isIdle);
  });
});

test('where the round trip is next to nothing, datagrams are not tried', async () => {
  await withPair({ udp: true, lanes: 1, seed: 25 }, async (pair) => {
    const { world, chooser, client } = pair;
    const udp = () => client.lanes.find(({ kind }) => kind === 'udp')!;
    await until(world, () => client.lanes.filter(({ isReady }) => isReady).length === 3);
    await until(world, () => /^the round trip takes/.test(chooser.choice.reason));
    const stop = busy(pair);
    await pause(world, 2_000);
    stop();
    await until(world, () => client.isIdle);
    assert.equal(chooser.choice.lanes, 'tls');
    assert.equal(client.acknowledgedBytesOf(udp()), 0);
  });
});

test('a lane that is wished for is taken, and no other is tried', async () => {
  for (const lane of ['udp', 'tls'] as const) {
    await withPair({ udp: true, lanes: 1, lane, seed: 22 }, async (pair) => {
      await until(pair.world, () => pair.chooser.choice.lanes === lane);
      assert.equal(pair.chooser.choice.reason, 'as wished');
      pair.world.net.datagrams.setFaults({ rateBytesPerMs: 400 });
      const stop = busy(pair);
      await pause(pair.world, 300);
      assert.equal(pair.chooser.choice.reason, 'as wished');
      assert.equal(pair.chooser.choice.lanes, lane);
      const told = `${lane}: as wished`;
      await until(pair.world, () => pair.server.traffic.peerLanes === told);
      stop();
      await until(pair.world, () => pair.client.isIdle);
    });
  }
});

test('lanes whose rate falls are doubted, and all are tried again', async () => {
  await withPair({ udp: true, lanes: 1, seed: 23, farMs: 2 }, async (pair) => {
    const { world, chooser, client, atServer } = pair;
    await until(world, () => client.lanes.filter(({ isReady }) => isReady).length === 3);
    world.net.datagrams.setFaults({ rateBytesPerMs: 400 });
    const stop = busy(pair);
    await until(world, () => chooser.choice.measured.size === 2);
    assert.equal(chooser.choice.lanes, 'tls');
    const changedAtMs = world.nowMs;
    atServer.take = (message) => void world.env.clock.after(5_000, () => message.done());
    await until(world, () => chooser.choice.reason === 'being tried');
    assert.ok(world.nowMs - changedAtMs < 15_000, `${world.nowMs - changedAtMs} ms`);
    stop();
    await until(world, () => client.isIdle);
  });
});

test('a lane that ends is done without, and tried again when there is another one', async () => {
  await withPair({ udp: true, lanes: 1, seed: 24, farMs: 2 }, async (pair) => {
    const { world, chooser, client } = pair;
    const find = (kind: string) => client.lanes.find((lane) => lane.kind === kind);
    await until(world, () => find('tls') !== undefined && find('udp')?.isReady === true);
    find('tls')!.destroy(new Error('cut'));
    assert.equal(chooser.choice.lanes, 'udp');
    assert.match(chooser.choice.reason, /only one/);
    await until(world, () => find('tls') !== undefined);
    world.net.datagrams.setFaults({ rateBytesPerMs: 400 });
    const stop = busy(pair);
    await until(world, () => chooser.choice.measured.size === 2);
    stop();
    await until(world, () => client.isIdle);
  });
});

test('a lane that begins slowly is tried for as long as it grows', async () => {
  const world = new World(1, {});
  await world.run(async () => {
    // TLS is as fast as it gets at once; UDP doubles every 400 ms, from a twentieth of that.
    const { session, end } = scripted(world, (kind, sinceMs) =>
      kind === 'tls' ? 8_000 : Math.min(45_000, 400 * 2 ** (sinceMs / 400)),
    );
    const chooser = new LaneChooser(world.env.clock, session, 'auto');
    session.onLanesChanged!();
    await until(world, () => chooser.choice.reason.startsWith('tls '));
    assert.equal(chooser.choice.lanes, 'udp');
    assert.ok(chooser.choice.measured.get('udp')! > 40_000_000, chooser.choice.reason);
    assert.ok(world.nowMs < 12_000, `${world.nowMs} ms`);
    chooser.stop();
    end();
  });
});

test('what is tried first, while all is cold, is tried once more before it loses', async () => {
  const world = new World(1, {});
  await world.run(async () => {
    const { session, end } = scripted(world, (kind) =>
      kind === 'udp' ? 30_000 : world.nowMs < 2_500 ? 20_000 : 45_000,
    );
    const chooser = new LaneChooser(world.env.clock, session, 'auto');
    session.onLanesChanged!();
    await until(world, () => chooser.choice.reason.startsWith('tls '));
    assert.equal(chooser.choice.lanes, 'tls', chooser.choice.reason);
    chooser.stop();
    end();
  });
});

/** A session whose lanes carry what a test says, in bytes per millisecond, while it is busy. */
function scripted(world: World, rateOf: (kind: LaneKind, sinceMs: number) => number) {
  const lane = (id: number, kind: LaneKind): Lane => ({
    ...{ id, kind, isReady: true, pump() {}, destroy() {} },
  });
  const lanes = [lane(0, 'control'), lane(1, 'tls'), lane(2, 'udp')];
  const carried = new Map<Lane, number>(lanes.map((each) => [each, 0]));
  let used: readonly Lane[] = [];
  let sinceMs = 0;
  let isOver = false;
  const session: ChosenFor = {
    ...{ state: 'open', roundTrip: { milliseconds: 20, leastMs: 20 }, lanes },
    ...{ backlogBytes: 1_000_000, waitingBytes: 1_000_000, onLanesChanged: undefined },
    acknowledgedBytesOf: (one) => carried.get(one)!,
    useLanes(next) {
      if (next[0] !== used[0]) sinceMs = world.nowMs;
      used = next;
    },
  };
  const carry = () => {
    for (const one of used) {
      carried.set(one, carried.get(one)! + 10 * rateOf(one.kind, world.nowMs - sinceMs));
    }
    if (!isOver) world.env.clock.after(10, carry);
  };
  carry();
  return {
    session,
    end() {
      isOver = true;
    },
  };
}
