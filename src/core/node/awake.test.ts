/** Goal: staying awake is bounded, stops where it does not pay, and holds up nobody. */
import assert from 'node:assert/strict';
import { connect, createServer, type Socket } from 'node:net';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  CREDIT_MAX,
  MISS_COST,
  Punctuality,
  TRIAL_REQUESTS,
  VERDICT_REQUESTS,
  WAIT_MAX_MS,
  Wakefulness,
} from './awake.ts';

/** Answers whether the wait for each request was granted; time is the sum of the gaps. */
function play(peer: Punctuality, gapsMs: readonly number[]): boolean[] {
  let nowMs = 1;
  return gapsMs.map((gapMs) => {
    const isGranted = peer.answered(nowMs);
    nowMs += gapMs;
    peer.arrived(nowMs);
    return isGranted;
  });
}

const SOON_MS = WAIT_MAX_MS / 2;
const LATE_MS = WAIT_MAX_MS * 2;

test('waits in vain are paid for by answers in time', () => {
  const gap = fc.oneof(fc.constant(SOON_MS), fc.constant(LATE_MS), fc.double({ min: 0, max: 1 }));
  fc.assert(
    fc.property(fc.array(gap, { maxLength: 400 }), (gapsMs) => {
      const granted = play(new Punctuality(), gapsMs);
      // The clock adds up with rounding: what is close to the limit may count either way.
      const inTime = gapsMs.filter((gapMs) => gapMs <= WAIT_MAX_MS * 1.001).length;
      const inVain = granted.filter((is, at) => is && gapsMs[at]! > WAIT_MAX_MS * 1.001).length;
      assert(inVain <= inTime / MISS_COST, `${inVain} waits in vain for ${inTime} in time`);
    }),
  );
});

/** A peer that takes so long when this side is asleep, and so long when it is awake. */
function serve(peer: Punctuality, asleepMs: number, awakeMs: number, count: number): number {
  let granted = 0;
  let nowMs = 1;
  for (let request = 0; request < count; request += 1) {
    const isAwake = peer.answered(nowMs);
    if (isAwake) granted += 1;
    nowMs += isAwake ? awakeMs : asleepMs;
    peer.arrived(nowMs);
  }
  return granted;
}

test('a slow peer is never waited for, one that slows down only until that has shown', () => {
  const peer = new Punctuality();
  assert.equal(serve(peer, LATE_MS, LATE_MS, 20_000), 0);
  assert(serve(peer, SOON_MS, SOON_MS / 2, 20_000) > 10_000);
  assert(serve(peer, LATE_MS, LATE_MS, 20_000) <= CREDIT_MAX / MISS_COST);
});

test('what has shown to be sooner is done, but for a trial of the other now and then', () => {
  const period = 2 * TRIAL_REQUESTS + VERDICT_REQUESTS;
  const better = serve(new Punctuality(), SOON_MS, SOON_MS / 2, 10 * period);
  assert.equal(better, 10 * (TRIAL_REQUESTS + VERDICT_REQUESTS));
  const worse = serve(new Punctuality(), SOON_MS / 2, SOON_MS, 10 * period);
  assert.equal(worse, 10 * TRIAL_REQUESTS);
});

test('many that ask schedule one turn at a time, and the last end holds', () => {
  const due: (() => void)[] = [];
  let nowMs = 0;
  let turns = 0;
  const awake = new Wakefulness(
    () => nowMs,
    (act) => void due.push(act),
  );
  for (let peer = 0; peer < 1_000; peer += 1) awake.keepUp(WAIT_MAX_MS);
  for (; due.length > 0; turns += 1, nowMs += WAIT_MAX_MS / 4) {
    assert.equal(due.length, 1);
    due.pop()!();
  }
  assert.equal(turns, 5, 'at 0, 1/4, 1/2 and 3/4 it goes on, at the end it stops');
  assert.equal(awake.isAwake, false);
});

test('timers and sockets have their turns meanwhile', async () => {
  const awake = new Wakefulness(() => performance.now(), setImmediate);
  awake.keepUp(Number.POSITIVE_INFINITY);
  try {
    await new Promise((resolve) => setTimeout(resolve, 1));
    const server = createServer((socket) => socket.pipe(socket)).listen(0, '127.0.0.1');
    const text = await new Promise<string>((resolve, reject) => {
      server.once('error', reject);
      server.once('listening', () => {
        const { port } = server.address() as { port: number };
        const client: Socket = connect(port, '127.0.0.1', () => client.end('echo'));
        client.once('data', (bytes) => resolve(bytes.toString()));
        client.once('error', reject);
      });
    });
    server.close();
    assert.equal(text, 'echo');
    assert.equal(awake.isAwake, true, 'it was awake all the time');
  } finally {
    awake.keepUp(0);
  }
});
