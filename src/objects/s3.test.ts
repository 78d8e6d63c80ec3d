/** Goal: the S3 store keeps the contract over HTTP, whatever the server or the network does. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nodeEnv } from '../core/index.ts';
import { objectStoreSuite } from './object-store.suite.ts';
import { type S3ObjectStore, s3Store } from './s3.ts';
import { S3_PART_BYTES } from './s3-limits.ts';
import {
  BUCKET,
  FakeS3,
  type FakeS3Options,
  fakeCredentials,
  type S3Fault,
  type S3Request,
} from './s3-server.suite.ts';

const env = nodeEnv();

function storeAt(server: FakeS3, deadlineMs = 5_000): S3ObjectStore {
  return s3Store({
    location: `s3://${BUCKET}/some/prefix`,
    access: { endpoint: server.endpoint, credentials: fakeCredentials },
    clock: env.clock,
    random: env.random,
    pace: { deadlineMs, pauseMs: 1 },
  });
}

async function withServer(
  options: FakeS3Options,
  use: (store: S3ObjectStore, server: FakeS3) => Promise<void>,
  deadlineMs?: number,
): Promise<void> {
  await using server = await FakeS3.start(options);
  await using store = storeAt(server, deadlineMs);
  await use(store, server);
}

/** Plans `fault` for the first requests that `fits`, so many times. */
function first(
  times: number,
  fault: S3Fault,
  fits: (request: S3Request) => boolean = () => true,
): FakeS3Options {
  let left = times;
  return { plan: (request) => (fits(request) && left-- > 0 ? fault : undefined) };
}

objectStoreSuite({
  name: 'S3 store',
  withStore: (use) => withServer({ pageSize: 3 }, use),
  historyCount: 25,
});

let seed = 0;

objectStoreSuite({
  name: 'S3 store of which three in ten answers are 503, and others get lost',
  withStore: (use) => {
    let state = ++seed * 2654435761;
    const plan = (): S3Fault | undefined => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      const share = state / 2 ** 32;
      if (share < 0.3) return 'busy';
      if (share < 0.35) return 'lost-answer';
      if (share < 0.4) return 'cut-body';
      return share < 0.42 ? 'reset' : undefined;
    };
    return withServer({ plan }, use);
  },
  historyCount: 15,
});

const large = new Uint8Array(2.5 * S3_PART_BYTES).map((_, at) => at * 31 + (at >> 12));

async function putLarge(store: S3ObjectStore, key: string): Promise<void> {
  await using writer = await store.create(key);
  // Pieces that do not divide a part.
  for (let at = 0; at < large.byteLength; at += 1_000_003) {
    await writer.append(large.subarray(at, at + 1_000_003));
  }
  await writer.commit();
}

test('a large object goes up in parts, and its ranges come back', () =>
  withServer({}, async (store, server) => {
    await putLarge(store, 'packs/a');
    assert.equal(await store.size('packs/a'), large.byteLength);
    const target = new Uint8Array(70_000);
    await store.getRange('packs/a', target, S3_PART_BYTES - 30_000);
    assert.deepEqual(target, large.slice(S3_PART_BYTES - 30_000, S3_PART_BYTES + 40_000));
    assert.deepEqual(await store.get('packs/a', large.byteLength), large);
    // 1 to begin, 3 parts, 1 to end; 1 look at other uploads; 1 look whether the name is free.
    assert.deepEqual({ ...server.counts, GET: 0 }, { POST: 2, PUT: 3, HEAD: 2, GET: 0 });
    assert.equal(server.uploads.size, 0);
  }));

test('a large object under a taken name is refused, and leaves no upload', () =>
  withServer({}, async (store, server) => {
    await store.putIfAbsent('packs/a', Uint8Array.of(1));
    await assert.rejects(putLarge(store, 'packs/a'), { code: 'OBJECT_EXISTS' });
    assert.equal(server.uploads.size, 0);
    assert.deepEqual(await store.get('packs/a', 1), Uint8Array.of(1));
  }));

test('a writer that is given up leaves no upload', () =>
  withServer({}, async (store, server) => {
    {
      await using writer = await store.create('packs/a');
      await writer.append(large);
      assert.equal(server.uploads.size, 1);
    }
    assert.equal(server.uploads.size, 0);
  }));

test('uploads that nobody ended for a day are dropped, younger ones are not', async () => {
  let time = Date.parse('2026-01-01T00:00:00Z');
  const options = { now: () => new Date(time) };
  await withServer(options, async (store, server) => {
    const begin = { method: 'POST', headers: { authorization: 'x' } };
    for (const name of ['old', 'young']) {
      const place = `${server.endpoint}/${BUCKET}/some/prefix/packs/${name}?uploads`;
      await fetch(place, begin);
      time += 20 * 3600_000;
    }
    await putLarge(store, 'packs/a');
    assert.deepEqual(
      [...server.uploads.values()].map(({ key }) => key),
      ['some/prefix/packs/young'],
    );
  });
});

const isPut = ({ method }: S3Request) => method === 'PUT';
const isEnd = ({ method, query }: S3Request) => method === 'POST' && query.has('uploadId');

test('a put whose answer was lost is known as its own', () =>
  withServer(first(1, 'lost-answer', isPut), async (store, server) => {
    await store.putIfAbsent('log/1', Uint8Array.of(1));
    await assert.rejects(store.putIfAbsent('log/1', Uint8Array.of(1)), { code: 'OBJECT_EXISTS' });
    assert.equal(server.counts.PUT, 3);
  }));

test('a put is not taken for done because its name was taken a moment ago', () =>
  withServer({}, async (store, server) => {
    const lost = first(1, 'lost-answer', isPut);
    let looks = 0;
    server.options = {
      plan: (request) => {
        // Somebody removes it between the answer that it is there and the look whose it is.
        if (request.method === 'HEAD' && looks++ === 0) server.objects.delete(request.key);
        return lost.plan?.(request);
      },
    };
    await store.putIfAbsent('log/1', Uint8Array.of(1));
    assert.deepEqual(await store.get('log/1', 1), Uint8Array.of(1));
    assert.equal(looks, 1);
  }));

test('a put that failed, while another took the name, is refused', async () => {
  await using server = await FakeS3.start(first(1, 'busy', isPut));
  await using slow = storeAt(server);
  await using quick = storeAt(server);
  server.options = {
    plan: (request) => {
      if (!isPut(request)) return undefined;
      server.options = {};
      server.objects.set(request.key, { bytes: Buffer.of(7), meta: {} });
      return 'reset';
    },
  };
  await assert.rejects(slow.putIfAbsent('log/1', Uint8Array.of(1)), { code: 'OBJECT_EXISTS' });
  assert.deepEqual(await quick.get('log/1', 1), Uint8Array.of(7));
});

test('the end of a large object whose answer was lost is known as its own', () =>
  withServer(first(1, 'lost-answer', isEnd), async (store) => {
    await putLarge(store, 'packs/a');
    assert.deepEqual(await store.get('packs/a', large.byteLength), large);
  }));

for (const fault of ['cut-body', 'short-body', 'other-range', 'whole', 'html', 'reset'] as const) {
  test(`a range read that is answered by ${fault} is tried again`, () =>
    withServer({}, async (store, server) => {
      const bytes = Uint8Array.from({ length: 999 }, (_, at) => at);
      await store.putIfAbsent('a', bytes);
      server.options = first(2, fault);
      const before = server.requests;
      const target = new Uint8Array(500);
      await store.getRange('a', target, 300);
      assert.deepEqual(target, bytes.slice(300, 800));
      assert.equal(server.requests - before, 3);
    }));
}

test('a server that hangs costs a deadline, not for ever', () =>
  withServer(
    {},
    async (store, server) => {
      await store.putIfAbsent('a', Uint8Array.of(1));
      server.options = first(2, 'hang');
      assert.deepEqual(await store.get('a', 1), Uint8Array.of(1));
      server.options = { plan: () => 'hang' };
      await assert.rejects(store.size('a'), (error: Error & { code?: string }) => {
        assert.equal(error.code, 'OBJECT_UNAVAILABLE');
        assert.match(error.message, /cannot examine a \(tried 12 times\): Deadline: no answer/);
        return true;
      });
    },
    50,
  ));

test('a server that is always busy is given up after a bounded number of requests', () =>
  withServer({ plan: () => 'busy' }, async (store, server) => {
    await assert.rejects(store.get('a', 1), { code: 'OBJECT_UNAVAILABLE' });
    assert.equal(server.requests, 12);
  }));

test('what cannot be cured is not tried again, and no secret is told', () =>
  withServer({ plan: () => 'denied' }, async (store, server) => {
    await assert.rejects(store.get('a', 1), (error: Error & { code?: string; hint?: string }) => {
      assert.equal(error.code, 'OBJECT_ACCESS');
      const told = `${error.stack} ${error.message} ${error.hint} ${JSON.stringify(error)}`;
      for (const secret of Object.values(fakeCredentials)) assert.ok(!told.includes(secret));
      assert.equal(error.cause, undefined);
      return true;
    });
    assert.equal(server.requests, 1);
  }));

test('expired credentials are asked for anew once', () =>
  withServer(first(1, 'expired'), async (store, server) => {
    await assert.rejects(store.get('a', 1), { code: 'OBJECT_NOT_FOUND' });
    assert.equal(server.requests, 2);
    server.options = { plan: () => 'expired' };
    await assert.rejects(store.get('a', 1), { code: 'OBJECT_ACCESS' });
    assert.equal(server.requests, 4);
  }));

test('a missing bucket and a server that is not there are told apart from a missing object', async () => {
  await using server = await FakeS3.start();
  const { endpoint } = server;
  const access = { endpoint, credentials: fakeCredentials };
  const { clock, random } = env;
  const pace = { pauseMs: 1 };
  await using elsewhere = s3Store({ location: 's3://other', access, clock, random, pace });
  await assert.rejects(elsewhere.get('a', 1), { code: 'OBJECT_ACCESS' });
  await server[Symbol.asyncDispose]();
  await using nowhere = s3Store({ location: 's3://bucket', access, clock, random, pace });
  await assert.rejects(nowhere.get('a', 1), { code: 'OBJECT_UNAVAILABLE' });
});

test('a server is found to honour If-None-Match, to ignore it, or to look before it writes', async () => {
  for (const [options, putIfAbsent] of [
    [{}, true],
    [{ ignoresConditions: true }, false],
    [{ racesConditions: true }, false],
  ] as const) {
    await withServer(options, async (store, server) => {
      assert.deepEqual(await store.probe(), { putIfAbsent });
      assert.equal(server.objects.size, 0);
    });
  }
});

test('answers that get lost do not spoil the probe', () =>
  withServer(first(3, 'lost-answer', isPut), async (store) => {
    assert.deepEqual(await store.probe(), { putIfAbsent: true });
  }));

test('without conditions a taken name is looked up first', () =>
  withServer({ ignoresConditions: true }, async (store) => {
    store.putWithoutConditions();
    await store.putIfAbsent('log/1', Uint8Array.of(1));
    await assert.rejects(store.putIfAbsent('log/1', Uint8Array.of(2)), { code: 'OBJECT_EXISTS' });
    assert.deepEqual(await store.get('log/1', 1), Uint8Array.of(1));
  }));

test('requests can be kept below a rate', () =>
  withServer({}, async (_, server) => {
    let nowMs = 0;
    const waits: number[] = [];
    // Deadlines are longer than any wait here, and do not run.
    const clock = {
      ...env.clock,
      monotonicMs: () => nowMs,
      bootMs: () => nowMs,
      after: (delayMs: number, run: () => void) => {
        if (delayMs < 2_000) {
          waits.push(delayMs);
          nowMs += delayMs;
          queueMicrotask(run);
        }
        return { cancel: () => {} };
      },
    };
    await using store = s3Store({
      location: `s3://${BUCKET}`,
      access: { endpoint: server.endpoint, credentials: fakeCredentials },
      clock,
      random: env.random,
      pace: { requestsPerS: 4 },
    });
    for (let at = 0; at < 4; at++) await store.remove('a');
    assert.deepEqual(waits, [250, 250, 250]);
  }));

test('addresses with secrets or without a bucket are refused, and not repeated', async () => {
  const open = (location: string, endpoint?: string) => () =>
    s3Store({ location, access: { endpoint }, clock: env.clock, random: env.random });
  for (const bad of ['s3://', 's3:///a', 's3://a', 's3://bucket/a/../b', 's3://bucket/a b']) {
    assert.throws(open(bad), { code: 'OBJECT_NAME' }, bad);
  }
  for (const [location, endpoint] of [
    ['s3://KEY:hidden@bucket/a', undefined],
    ['s3://bucket', 'http://KEY:hidden@127.0.0.1'],
    ['s3://bucket', 'hidden'],
  ] as const) {
    assert.throws(open(location, endpoint), (error: Error & { code?: string }) => {
      assert.equal(error.code, 'OBJECT_NAME');
      assert.ok(!error.message.includes('hidden'));
      return true;
    });
  }
});
