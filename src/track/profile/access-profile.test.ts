/** Goal: counts are exact where there is room, never too low elsewhere, and fade with time. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Draws, simulatedEnv } from '../../../sim/index.ts';
import type { Clock, Env } from '../../core/index.ts';
import { AccessProfile, emptyParts, type RegionAccess } from './access-profile.ts';
import { HALF_LIFE_SECONDS, KNOWN_REGIONS_MAX, PROFILE_REGION_BYTES_MIN } from './limits.ts';
import { type Kind, READS, WRITES } from './sketch.ts';

const REGION = PROFILE_REGION_BYTES_MIN;
const GIB = 2 ** 30;
const TIB = 2 ** 40;

function profileOf(sizeBytes: number, clock: Clock = stillClock()): AccessProfile {
  return new AccessProfile(clock, emptyParts(sizeBytes));
}

/** Time stands still: weights are 1, and counts are whole numbers. */
function stillClock(): Clock {
  return { monotonicMs: () => 0, bootMs: () => 0, wallMs: () => 0, after: () => ({ cancel() {} }) };
}

/** Runs with a clock that `wait` moves. */
function inTime(run: (env: Env, wait: (seconds: number) => Promise<void>) => Promise<void>) {
  const world = simulatedEnv(1);
  return world.run(() =>
    run(world.env, async (seconds) => {
      await new Promise<void>((resolve) => {
        world.env.clock.after(seconds * 1000, resolve, { keepsProcess: true });
      });
    }),
  );
}

type Request = { kind: Kind; offsetBytes: number; lengthBytes: number };

function give(profile: AccessProfile, { kind, offsetBytes, lengthBytes }: Request): void {
  if (kind === READS) profile.read(offsetBytes, lengthBytes);
  else profile.written(offsetBytes, lengthBytes);
}

/** Counts without bounds. */
class Model {
  readonly counts = new Map<number, [reads: number, writes: number]>();
  readonly #ends = new Map<number, number>();
  readonly sequential = new Map<number, number>();

  give({ kind, offsetBytes, lengthBytes }: Request): void {
    const end = offsetBytes + lengthBytes;
    const before = this.#ends.get(Math.floor((offsetBytes - 1) / REGION));
    const isSequential = offsetBytes > 0 && before === offsetBytes;
    const last = Math.floor((end - 1) / REGION);
    for (let region = Math.floor(offsetBytes / REGION); region <= last; region++) {
      const counts = this.counts.get(region) ?? [0, 0];
      counts[kind]++;
      this.counts.set(region, counts);
      const sequential = this.sequential.get(region) ?? 0;
      this.sequential.set(region, sequential + (isSequential ? 1 : 0));
    }
    this.#ends.set(last, end);
  }
}

const requests = (sizeBytes: number, regions: number) =>
  fc.array(
    fc
      .record({
        kind: fc.constantFrom<Kind>(READS, WRITES),
        region: fc.nat(regions - 1),
        inside: fc.constantFrom(0, 4096, 8192, REGION - 4096),
        lengthBytes: fc.constantFrom(512, 4096, REGION - 4096, REGION, 5 * REGION),
      })
      .map(({ kind, region, inside, lengthBytes }) => {
        const offsetBytes = Math.min(region * REGION + inside, sizeBytes - 512);
        return { kind, offsetBytes, lengthBytes: Math.min(lengthBytes, sizeBytes - offsetBytes) };
      }),
    { maxLength: 300 },
  );

test('of a volume that fits into the table everything is exact', () => {
  const sizeBytes = 40 * REGION + 777;
  fc.assert(
    fc.property(requests(sizeBytes, 41), (all) => {
      const [profile, model] = [profileOf(sizeBytes), new Model()];
      for (const request of all) {
        give(profile, request);
        model.give(request);
      }
      for (let region = 0; region <= 40; region++) {
        const found = profile.region(region);
        const [reads, writes] = model.counts.get(region) ?? [0, 0];
        assert.deepEqual([found.reads, found.writes], [reads, writes]);
        assert.deepEqual([found.readsDoubt, found.writesDoubt], [0, 0]);
        const sequential = model.sequential.get(region) ?? 0;
        assert.equal(found.sequentialShare, sequential / Math.max(1, reads + writes));
      }
      assert.equal(profile.workingSet(60).accessedBytes, model.counts.size * REGION);
      assert.equal(profile.requestCount, all.length);
    }),
    { numRuns: 60 },
  );
});

test('no region of 2 GiB shares its place, and one past that is where doubt begins', () => {
  for (const [regions, doubts] of [
    [KNOWN_REGIONS_MAX, 0],
    [KNOWN_REGIONS_MAX + 1, 1],
  ] as const) {
    const profile = profileOf(regions * REGION);
    for (let region = 0; region < regions; region++) profile.read(region * REGION, 4096);
    const all = Array.from({ length: regions }, (_, region) => profile.region(region));
    assert.ok(all.every(({ reads }) => reads >= 1));
    const known = profile.hottest(regions, 'reads');
    assert.equal(known.length, KNOWN_REGIONS_MAX);
    assert.equal(all.filter(({ readsDoubt }) => readsDoubt > 0).length, doubts);
  }
});

let made: { readonly profile: AccessProfile; readonly model: Model } | undefined;

/** What a stream of requests over a large volume leaves, beside the truth. */
function crowd() {
  if (made !== undefined) return made;
  const draws = new Draws(1);
  const [profile, model] = [profileOf(TIB), new Model()];
  for (let count = 0; count < 200_000; count++) {
    // Hot ones lie a block group apart, as a file system's tables do.
    const hot = Math.floor(draws.unit() ** 2 * 2000) * 2048;
    const region = draws.chance(0.5) ? hot : draws.below(TIB / REGION);
    const kind: Kind = draws.chance(0.3) ? READS : WRITES;
    const request = { kind, offsetBytes: region * REGION, lengthBytes: 4096 };
    give(profile, request);
    model.give(request);
  }
  made = { profile, model };
  return made;
}

test('where there is no room counts are never too low, too high by no more than the doubt', () => {
  const { profile, model } = crowd();
  let doubtful = 0;
  for (const [region, [reads, writes]] of model.counts) {
    const found = profile.region(region);
    assertBetween(found.reads, found.readsDoubt, reads);
    assertBetween(found.writes, found.writesDoubt, writes);
    if (found.readsDoubt + found.writesDoubt > 0) doubtful++;
  }
  assert.ok(doubtful > model.counts.size / 2, 'the table was not crowded');
});

test('the hottest are found among a hundred thousand others', () => {
  const { profile, model } = crowd();
  const sum = ([reads, writes]: [number, number]) => reads + writes;
  const truth = [...model.counts].sort((a, b) => sum(b[1]) - sum(a[1])).slice(0, 200);
  const found = new Set(profile.hottest(220, 'accesses').map((one) => one.offsetBytes / REGION));
  const missed = truth.filter(([region]) => !found.has(region));
  assert.ok(missed.length <= 4, `${missed.length} of the 200 hottest were missed`);
  const rows = profile.hottest(50, 'accesses');
  assertDescending(rows, ({ reads, writes }) => reads + writes);
  assertDescending(profile.hottest(50, 'reads'), ({ reads }) => reads);
  assertDescending(profile.hottest(50, 'writes'), ({ writes }) => writes);
});

test('the working set of a large volume is judged within a tenth', () => {
  const { profile, model } = crowd();
  const { accessedBytes } = profile.workingSet(60);
  const ratio = accessedBytes / (model.counts.size * REGION);
  assert.ok(ratio > 0.9 && ratio < 1.1, `${ratio} of what was accessed`);
});

test('memory is bounded, whatever the size of the volume', () => {
  for (const [sizeBytes, mostBytes] of [
    [64 * 2 ** 20, 150_000],
    [2 * GIB, 2.5 * 2 ** 20],
    [TIB, 3 * 2 ** 20],
    [2 ** 53 - 1, 3 * 2 ** 20],
  ] as const) {
    const profile = profileOf(sizeBytes);
    const { known, sketch, workingSet } = profile.parts();
    const tables = [known.keys, known.entries, workingSet.seconds, sketch?.cells];
    const bytes = tables.reduce((sum, table) => sum + (table?.byteLength ?? 0), 0);
    assert.ok(bytes <= mostBytes, `${bytes} bytes for a volume of ${sizeBytes}`);
    profile.written(sizeBytes - 4096, 4096);
    assert.equal(profile.region(profile.regionCount - 1).writes, 1);
  }
});

test('an access of an hour ago counts half, of a month ago nothing, and what is new counts one', () =>
  inTime(async ({ clock }, wait) => {
    using profile = new AccessProfile(clock, emptyParts(GIB));
    for (let count = 0; count < 8; count++) profile.written(5 * REGION, 4096);
    await wait(HALF_LIFE_SECONDS);
    assertNear(profile.region(5).writes, 4);
    profile.written(5 * REGION, 4096);
    assertNear(profile.region(5).writes, 5);
    assertNear(profile.totals().writes, 5);
    assert.equal(profile.region(5).sinceWriteSeconds, 0);
    assert.equal(profile.region(5).sinceReadSeconds, undefined);
    await wait(30 * 24 * HALF_LIFE_SECONDS);
    assert.ok(profile.region(5).writes < 1e-9);
    profile.read(5 * REGION, 4096);
    assertNear(profile.region(5).reads, 1);
    assert.deepEqual(profile.workingSet(60), { accessedBytes: REGION, writtenBytes: 0 });
  }));

test('how likely a region is written soon follows from how often it was', () =>
  inTime(async ({ clock }, wait) => {
    using profile = new AccessProfile(clock, emptyParts(GIB));
    const everySeconds = 20;
    for (let count = 0; count < 400; count++) {
      profile.written(REGION, 4096);
      await wait(everySeconds);
    }
    for (const seconds of [1, 20, 60]) {
      const wanted = 1 - Math.exp(-seconds / everySeconds);
      const found = profile.writtenWithin(1, seconds);
      assert.ok(Math.abs(found - wanted) < 0.02, `${found} within ${seconds} s, not ${wanted}`);
    }
    assert.equal(profile.writtenWithin(2, 3600), 0);
  }));

test('a long request counts once in each of its regions, and the next goes on where it ended', () => {
  const profile = profileOf(GIB);
  profile.read(REGION / 2, 3 * REGION);
  profile.read(3.5 * REGION, 4096);
  profile.read(9 * REGION, 4096);
  const reads = [0, 1, 2, 3, 4].map((region) => profile.region(region).reads);
  assert.deepEqual(reads, [1, 1, 1, 2, 0]);
  assert.equal(profile.region(3).sequentialShare, 0.5);
  const { sequentialReadShare, readBytes } = profile.totals();
  assert.equal(sequentialReadShare, 1 / 3);
  assert.equal(readBytes, 3 * REGION + 8192);
});

/** Sums of 32 bits in the sketch are rounded. */
function assertBetween(count: number, doubt: number, truth: number): void {
  assert.ok(count >= truth * (1 - 1e-6), `${count} is less than ${truth}`);
  assert.ok(count - doubt <= truth * (1 + 1e-6), `${count} - ${doubt} is more than ${truth}`);
}

function assertNear(count: number, wanted: number): void {
  assert.ok(Math.abs(count - wanted) < 0.01 * wanted, `${count}, not ${wanted}`);
}

function assertDescending(rows: readonly RegionAccess[], by: (row: RegionAccess) => number): void {
  assert.ok(rows.length > 1);
  for (const [at, row] of rows.entries()) if (at > 0) assert.ok(by(row) <= by(rows[at - 1]!));
}
