/** Goal: whatever a peer does, it is told why and left; nobody waits for ever or grows. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { simulatedEnv, type World } from '../../sim/index.ts';
import { hasCode, type Stream } from '../core/index.ts';
import { BufferPool } from './buffers.ts';
import { makeHello } from './hello-exchange.ts';
import { SessionHost } from './host.ts';
import {
  FAREWELL_MS,
  HALF_OPEN_MAX,
  HEARTBEAT_MS,
  HELLO_TIMEOUT_MS,
  LANE_QUEUED_BYTES_MAX,
  QUEUE_BYTES_MAX,
  SILENCE_MS,
} from './limits.ts';
import { MessageDecoder } from './message-decoder.ts';
import { headerOf } from './message-stream.ts';
import * as m from './messages/index.ts';
import { address, Recorder } from './session.suite.ts';
import type { Session } from './session.ts';

const pool = new BufferPool();

/** A peer made of bytes; what it hears is kept as messages. */
class RawPeer {
  readonly heard: { type: number; body: Uint8Array }[] = [];
  readonly closed = Promise.withResolvers<void>();
  readonly stream: Stream;

  constructor(stream: Stream) {
    this.stream = stream;
    const decoder = new MessageDecoder(pool, {
      admit: () => false,
      onMessage: ({ type }, body) => void this.heard.push({ type, body: body.slice() }),
    });
    stream.start({
      onBytes: (view) => decoder.feed(view),
      onDrained() {},
      onEnd: () => stream.end(),
      onClosed: () => this.closed.resolve(),
    });
  }

  say(type: number, body: Uint8Array, { sequence = 0, flags = 0 } = {}): void {
    this.stream.write([headerOf(type, flags, 2, sequence, { parts: [body] }), body]);
  }

  hello(fields: Partial<m.Hello> = {}): void {
    const hello = makeHello({
      ...{ sessionToken: new Uint8Array(16), received: m.nothingReceived, firstNumber: 1 },
    });
    this.say(m.HELLO, m.encodeHello({ ...hello, ...fields }));
  }

  get refusal(): string | undefined {
    const error = this.heard.find(({ type }) => type === m.ERROR);
    return error && m.decodeError(error.body).code;
  }
}

async function against(
  act: (dial: () => Promise<RawPeer>, host: SessionHost, world: World) => Promise<void>,
): Promise<void> {
  const world = simulatedEnv(3);
  await world.run(async () => {
    const host = new SessionHost({
      env: world.env,
      admit: () => ({ identity: 'someone', open: () => new Recorder() }),
    });
    const listener = await world.env.net.listen(address, (stream) => host.accept(stream));
    const dial = async () => new RawPeer(await world.env.net.connect(address, 1_000));
    await act(dial, host, world);
    host.close('over');
    await listener.close();
  });
}

const wrongHellos: Readonly<Record<string, [Partial<m.Hello>, string]>> = {
  'a newer version only': [{ versionMin: 8, versionMax: 9 }, 'WIRE_VERSION'],
  'an unknown capability': [{ required: ['telepathy'] }, 'WIRE_UNSUPPORTED'],
  'no room for any body': [{ bodyBytesMax: 10 }, 'WIRE_LIMIT'],
  'a session that nobody knows': [
    { sessionToken: new Uint8Array(16).fill(9) },
    'WIRE_SESSION_UNKNOWN',
  ],
};
for (const [name, [fields, code]] of Object.entries(wrongHellos)) {
  test(`a hello with ${name} is refused with ${code}`, () =>
    against(async (dial, host) => {
      const peer = await dial();
      peer.hello(fields);
      await peer.closed.promise;
      assert.equal(peer.refusal, code);
      assert.deepEqual([host.halfOpenCount, host.sessions.length], [0, 0]);
    }));
}

const wrongBeginnings: Readonly<Record<string, (peer: RawPeer) => void>> = {
  'text of another protocol': (peer) => {
    peer.stream.write([new TextEncoder().encode('GET / HTTP/1.1\r\nHost: provider\r\n\r\n')]);
  },
  'a long body': (peer) => {
    peer.stream.write([headerOf(m.HELLO, 0, 1, 0, { parts: [new Uint8Array(100_000)] })]);
  },
  'data before a hello': (peer) => peer.say(m.BLOCK_DATA, new Uint8Array(9), { sequence: 1 }),
  'a lane of no session': (peer) =>
    peer.say(
      m.LANE_JOIN,
      m.encodeLaneJoin({ sessionToken: new Uint8Array(16), laneId: 1, token: new Uint8Array(32) }),
    ),
};
for (const [name, act] of Object.entries(wrongBeginnings)) {
  test(`a connection that begins with ${name} is refused`, () =>
    against(async (dial, host) => {
      const peer = await dial();
      act(peer);
      await peer.closed.promise;
      assert.match(peer.refusal ?? '', /^WIRE_/);
      assert.deepEqual([host.halfOpenCount, host.sessions.length], [0, 0]);
    }));
}

const wrongMessages: Readonly<Record<string, [(peer: RawPeer) => void, string]>> = {
  'a message far ahead': [
    (peer) => peer.say(m.READ, new Uint8Array(9), { sequence: 100_000 }),
    'WIRE_PROTOCOL',
  ],
  'a mandatory message of an unknown type': [
    (peer) => peer.say(99, new Uint8Array(9), { sequence: 1, flags: 1 }),
    'WIRE_UNSUPPORTED',
  ],
  'unknown flags': [
    (peer) => peer.say(m.READ, new Uint8Array(9), { sequence: 1, flags: 64 }),
    'WIRE_UNSUPPORTED',
  ],
  'a second hello': [(peer) => peer.hello(), 'WIRE_PROTOCOL'],
  'an acknowledgement of what was never sent': [
    (peer) =>
      peer.say(
        m.ACK,
        m.encodeAck({ received: { cumulative: 7, later: new Uint8Array(0) }, credits: [] }),
      ),
    'WIRE_PROTOCOL',
  ],
  'a body that unfolds to something else': [
    (peer) => peer.say(m.METADATA, Uint8Array.of(2, 100, 1, 2, 3), { sequence: 1, flags: 2 }),
    'WIRE_FORMAT',
  ],
  'more than its credit': [
    (peer) => {
      for (let sequence = 1; sequence < 9; sequence += 1) {
        peer.say(m.READ, new Uint8Array(2 ** 20), { sequence });
      }
    },
    'WIRE_PROTOCOL',
  ],
};
for (const [name, [act, code]] of Object.entries(wrongMessages)) {
  test(`${name} ends the session with ${code}`, () => {
    const world = simulatedEnv(4);
    return world.run(async () => {
      const recorder = new Recorder();
      recorder.take = () => {}; // Nothing is ever done, so that credit runs out.
      const host = new SessionHost({
        env: world.env,
        admit: () => ({ identity: 'someone', open: () => recorder }),
      });
      await world.env.net.listen(address, (stream) => host.accept(stream));
      const peer = new RawPeer(await world.env.net.connect(address, 1_000));
      peer.hello();
      act(peer);
      assert.ok(hasCode(await recorder.closed.promise, code));
      await peer.closed.promise;
      assert.equal(peer.refusal, code);
      assert.deepEqual(host.sessions, []);
    });
  });
}

test('an optional message of an unknown type is skipped', () =>
  against(async (dial, host, world) => {
    const peer = await dial();
    peer.hello();
    peer.say(99, new Uint8Array(50), { sequence: 1 });
    const acknowledged = () =>
      peer.heard.some(
        ({ type, body }) => type === m.ACK && m.decodeAck(body).received.cumulative === 1,
      );
    while (!acknowledged()) {
      await new Promise<void>((resolve) => void world.env.clock.after(1, resolve));
    }
    assert.equal(host.sessions.length, 1);
    peer.stream.destroy();
  }));

test('a hello that stops at any byte is waited for until its deadline, no longer', () =>
  against(async (dial, host, world) => {
    const hello = m.encodeHello(
      makeHello({
        ...{ sessionToken: new Uint8Array(16), received: m.nothingReceived, firstNumber: 1 },
      }),
    );
    const bytes = Buffer.concat([headerOf(m.HELLO, 0, 1, 0, { parts: [hello] }), hello]);
    const peers: RawPeer[] = [];
    for (let cut = 0; cut < bytes.byteLength; cut += 1) {
      const peer = await dial();
      peer.stream.write([Uint8Array.from(bytes.subarray(0, cut))]);
      peers.push(peer);
    }
    const startMs = world.nowMs;
    await Promise.all(peers.map(({ closed }) => closed.promise));
    assert.ok(world.nowMs - startMs <= HELLO_TIMEOUT_MS + 2 * FAREWELL_MS);
    assert.ok(peers.every(({ refusal }) => refusal === 'WIRE_TIMEOUT' || refusal === undefined));
    assert.deepEqual([host.halfOpenCount, host.sessions.length], [0, 0]);
  }));

test('ten thousand connections that say nothing are bounded, and an honest one gets in', () =>
  against(async (dial, host, world) => {
    for (let count = 0; count < 10_000; count += 100) {
      await Promise.all(Array.from({ length: 100 }, () => world.env.net.connect(address, 1_000)));
      assert.ok(host.halfOpenCount <= HALF_OPEN_MAX);
    }
    const peer = await dial();
    peer.hello();
    while (host.sessions.length === 0) {
      await new Promise<void>((resolve) => void world.env.clock.after(1, resolve));
    }
    assert.ok(host.halfOpenCount <= HALF_OPEN_MAX);
    peer.stream.destroy();
  }));

test('a peer that stops reading is given up in time, and nothing grows meanwhile', () => {
  const world = simulatedEnv(5);
  return world.run(async () => {
    const recorder = new Recorder();
    const opened = Promise.withResolvers<Session>();
    const host = new SessionHost({
      env: world.env,
      admit: () => ({
        identity: 'someone',
        open(session) {
          opened.resolve(session);
          return recorder;
        },
      }),
    });
    await world.env.net.listen(address, (stream) => host.accept(stream));
    const peer = new RawPeer(await world.env.net.connect(address, 1_000));
    peer.hello();
    const session = await opened.promise;
    peer.stream.pause();
    // It goes on talking, and asks for answers.
    const talk = world.env.clock.after(0, function again() {
      const heartbeat = { timeUs: 1, echoUs: 0, heldUs: 0, backlogBytes: 0 };
      peer.say(m.HEARTBEAT, m.encodeHeartbeat(heartbeat));
      if (session.state === 'open') world.env.clock.after(100, again);
    });
    const parts = [new Uint8Array(300_000)];
    let taken = 0;
    while (session.send({ type: m.BLOCK_DATA, parts, priority: 2 })) taken += 1;
    assert.ok(taken * 300_000 <= QUEUE_BYTES_MAX + LANE_QUEUED_BYTES_MAX + 2 * 300_000);
    const startMs = world.nowMs;
    assert.ok(hasCode(await recorder.broken.promise, 'WIRE_TIMEOUT'));
    assert.ok(world.nowMs - startMs <= SILENCE_MS + 2 * HEARTBEAT_MS);
    assert.equal(session.send({ type: m.BLOCK_DATA, parts, priority: 2 }), false);
    talk.cancel();
    peer.stream.destroy();
    host.close('over');
  });
});
