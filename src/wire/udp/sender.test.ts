/** Goal: a sender finds the rate of its path, also where its own process is woken late. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BufferPool } from '../buffers.ts';
import { FROM_DIALLER, laneKeys } from './keys.ts';
import type { Run } from './packet-window.ts';
import { numberOfPacket } from './packets.ts';
import { Sender } from './sender.ts';

/** 100 Mbit/s and 20 ms, with a queue of 50 ms. */
const PATH_BYTES_PER_MS = 12_500;
const ONE_WAY_MS = 10;
const QUEUE_MS = 50;
const RUN_MS = 6_000;
const HEADERS_BYTES = 28;

type Result = {
  /** Of what the path can carry, in the second half of the run. */
  readonly used: number;
  /** Of its packets. */
  readonly sentAgain: number;
  readonly estimate: number;
};

type Darkness = { readonly fromMs: number; readonly toMs: number };

/** The sender looks at its timers and at what has come only every `wakeMs`. */
function run(wakeMs: number, dark: Darkness = { fromMs: 0, toMs: 0 }): Result {
  const keys = laneKeys(
    (lengthBytes) => new Uint8Array(lengthBytes),
    Uint8Array.of(1),
    FROM_DIALLER,
  );
  const parts = [new Uint8Array(500_000)];
  let nowMs = 0;
  let pathFreeMs = 0;
  let carriedBytes = 0;
  const told: { readonly atMs: number; readonly number: number }[] = [];
  const transmit = (packets: readonly Uint8Array[], count: number) => {
    for (const packet of packets.slice(0, count)) {
      pathFreeMs = Math.max(pathFreeMs, nowMs);
      if (pathFreeMs - nowMs > QUEUE_MS) continue;
      if (nowMs >= dark.fromMs && nowMs < dark.toMs) continue;
      const bytes = packet.byteLength + HEADERS_BYTES;
      pathFreeMs += bytes / PATH_BYTES_PER_MS;
      if (nowMs >= RUN_MS / 2) carriedBytes += bytes;
      told.push({ atMs: pathFreeMs + 2 * ONE_WAY_MS, number: numberOfPacket(packet) });
    }
  };
  const sender = new Sender({ lane: 1, keys, pool: new BufferPool(), next: () => parts, transmit });
  while (nowMs < RUN_MS) {
    const waitMs = sender.pump(nowMs) ?? 1;
    const comesMs = told[0] === undefined ? waitMs : told[0].atMs - nowMs;
    nowMs += Math.max(wakeMs, Math.min(waitMs, comesMs));
    const runs: Run[] = [];
    while (told[0] !== undefined && told[0].atMs <= nowMs) {
      const { number } = told.shift()!;
      const last = runs[0];
      if (last?.last === number - 1) runs[0] = { first: last.first, last: number };
      else runs.unshift({ first: number, last: number });
    }
    if (runs.length > 0) sender.onAck(runs, 0, nowMs);
  }
  return {
    used: carriedBytes / (PATH_BYTES_PER_MS * (RUN_MS / 2)),
    sentAgain: sender.retransmittedPackets / sender.sentPackets,
    estimate: sender.rate.rateBytesPerMs / PATH_BYTES_PER_MS,
  };
}

for (const [wakeMs, usedMin, sentAgainMax] of [
  [1, 0.95, 0.01],
  [10, 0.95, 0.02],
  [40, 0.9, 0.1],
  [80, 0.4, 0.15],
] as const) {
  test(`woken every ${wakeMs} ms, it finds the rate and sends little twice`, () => {
    const { used, sentAgain, estimate } = run(wakeMs);
    const figures = JSON.stringify({ used, sentAgain, estimate });
    assert.ok(used >= usedMin, figures);
    assert.ok(sentAgain <= sentAgainMax, figures);
    assert.ok(estimate <= 1.3, figures);
  });
}

test('while nothing comes through, only a few packets are sent, and then all goes on', () => {
  const { used, sentAgain } = run(1, { fromMs: RUN_MS / 2, toMs: RUN_MS / 2 + 1_000 });
  const figures = JSON.stringify({ used, sentAgain });
  // A third of the second half is dark, and the next probe half a second off at most.
  assert.ok(used >= 0.5, figures);
  // What was under way, once: bandwidth times 50 ms, in five seconds of it.
  assert.ok(sentAgain <= 0.02, figures);
});
