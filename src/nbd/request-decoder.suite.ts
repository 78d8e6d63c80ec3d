/** The decoder of requests against a model that sees all bytes at once, step by step, per seed. */
import assert from 'node:assert/strict';
import { Draws } from '../../sim/index.ts';
import { COMMAND_WRITE, FLAG_PAYLOAD_LENGTH } from './constants.ts';
import {
  ADMIT,
  emptyRequest,
  HANG_UP,
  putRequest,
  type Request,
  RequestDecoder,
  requestBytes,
  SKIP,
  WAIT,
} from './request-codec.ts';
import { SlabPool } from './slabs.ts';

type Planned = {
  readonly request: Request;
  readonly payload: Uint8Array | undefined;
  readonly verdict: number;
  /** How often the sink says WAIT first. */
  waits: number;
};

/** One session of random requests in random pieces; answers how many steps it took. */
export function requestDecoderSession(seed: number): number {
  const draws = new Draws(seed, 11);
  const extended = draws.chance(0.5);
  const plan = Array.from({ length: 1 + draws.below(12) }, () => planned(draws, extended));
  const breakAt = draws.chance(0.2) ? draws.below(plan.length) : plan.length;
  const bytes = Uint8Array.from(Buffer.concat(plan.flatMap((one) => wire(one, extended))));
  if (breakAt < plan.length) bytes[startOf(plan, breakAt, extended)]! ^= 0x40;
  const expected = expectedOf(plan, breakAt);
  const pool = new SlabPool();
  const seen: { request: Request; payload: Uint8Array | undefined }[] = [];
  let index = 0;
  let isBroken = false;
  const decoder = new RequestDecoder(extended, pool, {
    admit(request, payloadBytes) {
      const one = plan[index]!;
      assert.deepEqual({ ...request }, one.request);
      assert.equal(payloadBytes, one.payload?.byteLength ?? 0);
      if (one.waits-- > 0) return WAIT;
      index += 1;
      return one.verdict;
    },
    onRequest(request, payload, slab) {
      seen.push({ request: { ...request }, payload: payload?.slice() });
      if (slab !== undefined) pool.release(slab);
    },
    onBadMagic() {
      assert.equal(isBroken, false);
      isBroken = true;
    },
  });
  const steps = feedAll(decoder, bytes, draws, index);
  assert.deepEqual(seen, expected.delivered);
  assert.equal(isBroken, expected.isBroken);
  if (!expected.isDead) assert.equal(decoder.isMidway, false);
  decoder.stop();
  return steps;
}

function feedAll(decoder: RequestDecoder, bytes: Uint8Array, draws: Draws, from: number): number {
  const longest = draws.pick([1, 7, 40, 1000, 100_000]);
  let steps = 0;
  for (let at = from; at < bytes.byteLength || decoder.isParked; steps += 1) {
    assert.ok(steps < 1_000_000, 'the decoder makes no progress');
    const view = bytes.slice(at, at + 1 + draws.below(longest));
    const usedBytes = decoder.feed(view);
    assert.ok(usedBytes >= 0 && usedBytes <= view.byteLength);
    if (usedBytes < view.byteLength) assert.ok(decoder.isParked, 'bytes are left for no reason');
    view.fill(0xdb); // Borrowed: whoever kept it has noise now.
    at += usedBytes;
  }
  return steps;
}

function planned(draws: Draws, extended: boolean): Planned {
  const hasPayload = draws.chance(0.5);
  const command = hasPayload && !extended ? COMMAND_WRITE : draws.pick([0, 2, 3, 4, 6, 7, 99]);
  const lengthBytes = hasPayload
    ? draws.below(draws.pick([1, 30, 3000, 9000]))
    : draws.below(2 ** 32);
  const high = extended && !hasPayload ? draws.below(2 ** 20) * 2 ** 32 : 0;
  const request = {
    ...emptyRequest(),
    flags:
      (draws.below(2 ** 16) & ~FLAG_PAYLOAD_LENGTH) |
      (extended && hasPayload ? FLAG_PAYLOAD_LENGTH : 0),
    command,
    cookieHigh: draws.below(2 ** 32),
    cookieLow: draws.below(2 ** 32),
    offsetBytes: draws.below(2 ** 53),
    lengthBytes: lengthBytes + high,
  };
  const payload = hasPayload && lengthBytes > 0 ? new Uint8Array(lengthBytes) : undefined;
  if (payload !== undefined) draws.fill(payload);
  const verdict = draws.pick([...Array<number>(12).fill(ADMIT), SKIP, SKIP, HANG_UP]);
  return { request, payload, verdict, waits: draws.pick([0, 0, 0, 1, 2]) };
}

function wire({ request, payload }: Planned, extended: boolean): Uint8Array[] {
  const header = new Uint8Array(requestBytes(extended));
  putRequest(header, 0, request, extended);
  return payload === undefined ? [header] : [header, payload];
}

function startOf(plan: readonly Planned[], count: number, extended: boolean): number {
  let at = 0;
  for (const { payload } of plan.slice(0, count)) {
    at += requestBytes(extended) + (payload?.byteLength ?? 0);
  }
  return at;
}

function expectedOf(plan: readonly Planned[], breakAt: number) {
  const delivered: { request: Request; payload: Uint8Array | undefined }[] = [];
  for (const { request, payload, verdict } of plan.slice(0, breakAt)) {
    if (verdict === HANG_UP) return { delivered, isBroken: false, isDead: true };
    delivered.push({ request, payload: verdict === SKIP ? undefined : payload });
  }
  const isBroken = breakAt < plan.length;
  return { delivered, isBroken, isDead: isBroken };
}
