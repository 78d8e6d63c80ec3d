/** Goal: a further lane opens once, by its token, and to nobody but the session's own peer. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { simulatedEnv, type World } from '../../sim/index.ts';
import { hasCode, type PeerCertificate } from '../core/index.ts';
import { BufferPool } from './buffers.ts';
import { exchange, makeHello } from './hello-exchange.ts';
import { SessionHost } from './host.ts';
import * as m from './messages/index.ts';
import { address, Recorder } from './session.suite.ts';

const pool = new BufferPool();

function certificate(byte: number): PeerCertificate {
  const fingerprint = new Uint8Array(32).fill(byte);
  return { fingerprint, validFromMs: 0, validToMs: 1e15, names: [], isVouchedFor: false };
}

/** Whoever dials next shows this certificate. */
type Stage = { readonly world: World; readonly host: SessionHost; shown: PeerCertificate };

async function onStage(act: (stage: Stage) => Promise<void>): Promise<void> {
  const world = simulatedEnv(6);
  await world.run(async () => {
    const host = new SessionHost({
      ...{ env: world.env, streamLanes: 2 },
      admit: ({ certificate: shown }) => ({
        identity: String(shown!.fingerprint[0]),
        open: () => new Recorder(),
      }),
    });
    const stage: Stage = { world, host, shown: certificate(1) };
    const listener = await world.env.net.listen(address, (stream) => {
      host.accept(Object.assign(stream, { peerCertificate: stage.shown }));
    });
    await act(stage);
    host.close('over');
    await listener.close();
  });
}

/** Says hello and hears the offers of lanes. */
async function open({ world }: Stage, sessionToken: Uint8Array = new Uint8Array(16)) {
  const stream = await world.env.net.connect(address, 1_000);
  const offers: m.LaneOffer[] = [];
  const hello = makeHello({ sessionToken, received: m.nothingReceived, firstNumber: 1 });
  const token = await new Promise<Uint8Array>((resolve, reject) => {
    exchange(stream, {
      ...{ clock: world.env.clock, pool, expected: [m.HELLO], onFailed: reject },
      say: { type: m.HELLO, body: m.encodeHello(hello) },
      onFirst({ messages, body }) {
        messages.receiver = {
          admit: () => false,
          onMessage({ type }, offer) {
            if (type === m.LANE_OFFER) offers.push(m.decodeLaneOffer(offer));
            if (offers.length === 2) resolve(m.decodeHello(hello2).sessionToken);
          },
          onRoom() {},
          onClosed() {},
        };
        const hello2 = body.slice();
      },
    });
  });
  return { token, offers };
}

/** Undefined if the lane was opened, otherwise why not. */
async function join({ world }: Stage, lane: m.LaneJoin): Promise<string | undefined> {
  const stream = await world.env.net.connect(address, 1_000);
  return await new Promise((resolve) => {
    exchange(stream, {
      ...{ clock: world.env.clock, pool, expected: [m.LANE_JOIN] },
      say: { type: m.LANE_JOIN, body: m.encodeLaneJoin(lane) },
      onFirst: () => resolve(undefined),
      onFailed: (error) =>
        resolve(hasCode(error, 'WIRE_REMOTE') ? (error as { remoteCode: string }).remoteCode : '?'),
    });
  });
}

test('a token opens the lane that it was given for, and no second one', () =>
  onStage(async (stage) => {
    const { token: sessionToken, offers } = await open(stage);
    const [first, second] = offers as [m.LaneOffer, m.LaneOffer];
    const lane = { sessionToken, laneId: first.laneId, token: first.token };
    assert.equal(await join(stage, { ...lane, token: new Uint8Array(32) }), 'WIRE_TOKEN');
    assert.equal(await join(stage, lane), undefined);
    assert.equal(await join(stage, lane), 'WIRE_TOKEN');
    assert.equal(await join(stage, { ...lane, token: second.token }), 'WIRE_TOKEN');
    assert.deepEqual(
      stage.host.sessions[0]!.lanes.map(({ kind }) => kind),
      ['control', 'tls'],
    );
  }));

test('a stolen token is of no use with another certificate, or in another session', () =>
  onStage(async (stage) => {
    const { token: sessionToken, offers } = await open(stage);
    const [{ laneId, token }] = offers as [m.LaneOffer];
    stage.shown = certificate(2);
    assert.equal(await join(stage, { sessionToken, laneId, token }), 'WIRE_SESSION_UNKNOWN');
    const other = await open(stage);
    const stolen = { sessionToken: other.token, laneId, token };
    assert.equal(await join(stage, stolen), 'WIRE_TOKEN');
    assert.equal(stage.host.sessions.length, 2);
  }));

test('a session is not resumed with another certificate', () =>
  onStage(async (stage) => {
    const { token } = await open(stage);
    stage.shown = certificate(2);
    await assert.rejects(open(stage, token), { remoteCode: 'WIRE_SESSION_UNKNOWN' });
    assert.equal(stage.host.sessions.length, 1);
  }));
