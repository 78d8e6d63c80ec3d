/** Goal: several threads keep what one promises: order, flushes, limits, TLS, a clean end. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';
import { type Env, nodeEnv, type WorkerPort } from '../../core/index.ts';
import { scratch } from '../../device/scratch.suite.ts';
import { type ConnectOptions, connect } from '../connect.ts';
import { freshAddress, MIB } from '../loopback.suite.ts';
import { parseKeys } from '../tls.ts';
import { RESTARTS_MAX } from './limits.ts';
import {
  type ServeOnThreadsOptions,
  serveOnThreads,
  type ThreadedServer,
} from './serve-on-threads.ts';
import { smallWriters } from './small-writers.suite.ts';

const at = scratch();
const TMPFS = 0x01021994;
const noDirect = fs.statfsSync(at('.')).type === TMPFS && 'set TMPDIR to a disk';

/** An Env whose threads a test can end: a message that is none is an error like any other. */
function mortal(): { env: Env; ports: WorkerPort[]; kill(at: number): void } {
  const env = nodeEnv();
  const ports: WorkerPort[] = [];
  const start: Env['workers']['start'] = (module, handlers) => {
    const port = env.workers.start(module, handlers);
    ports.push(port);
    return port;
  };
  return {
    env: { ...env, workers: { ...env.workers, start } },
    ports,
    kill: (at) => ports[at]!.post(null),
  };
}

function file(name: string, sizeBytes = 4 * MIB): string {
  fs.writeFileSync(at(name), new Uint8Array(sizeBytes));
  return at(name);
}

function serveSource(
  source: string,
  options: Partial<ServeOnThreadsOptions> = {},
  env: Env = nodeEnv(),
): Promise<ThreadedServer> {
  const exports = [{ name: 'disk', source }];
  return serveOnThreads(env, { address: freshAddress(), exports, threads: 2, ...options });
}

/** One connection, that is lost when it is lost. */
function client(server: ThreadedServer, options: ConnectOptions = {}) {
  return connect(nodeEnv(), server.uri, { connections: 1, reconnectTimeoutMs: 0, ...options });
}

type Write = { readonly tag: number; readonly startAt: number; endAt: number };

/** Larger than any single transfer of the kernel's pages, and several stripes. */
const RECORD_BYTES = 192 * 1024;
const RECORDS = 4;

/** Writers of one or two records, tagged in every word; readers check against the history. */
async function overlappingLoad(server: ThreadedServer, rounds: number): Promise<number> {
  const clients = await Promise.all(Array.from({ length: 4 }, () => client(server)));
  const histories: Write[][] = Array.from({ length: RECORDS }, () => [
    { tag: 0, startAt: -1, endAt: -1 },
  ]);
  let now = 0;
  let tag = 0;
  let seen = 0;

  async function write(by: number, first: number, count: number): Promise<void> {
    const mine: Write = { tag: ++tag, startAt: ++now, endAt: Number.POSITIVE_INFINITY };
    for (let record = first; record < first + count; record++) histories[record]!.push(mine);
    const bytes = new Uint8Array(new Uint32Array((count * RECORD_BYTES) / 4).fill(mine.tag).buffer);
    await clients[by]!.write(bytes, first * RECORD_BYTES, 0);
    mine.endAt = ++now;
  }

  async function read(by: number, record: number): Promise<void> {
    const startAt = ++now;
    const words = new Uint32Array(RECORD_BYTES / 4);
    await clients[by]!.read(new Uint8Array(words.buffer), record * RECORD_BYTES);
    const found = words[0]!;
    assert(
      words.every((word) => word === found),
      `record ${record} is of several writes`,
    );
    const history = histories[record]!;
    const source = history.find((entry) => entry.tag === found);
    assert(source !== undefined, `nobody has written ${found}`);
    const isOld = history.some((other) => source.endAt < other.startAt && other.endAt < startAt);
    assert(!isOld, `record ${record}: ${found} had been overwritten`);
    seen += 1;
  }

  const work = clients.map(async (_, by) => {
    for (let round = 0; round < rounds; round++) {
      const first = (round * 7 + by) % RECORDS;
      const count = first < RECORDS - 1 && round % 3 === 0 ? 2 : 1;
      await Promise.all([
        write(by, first, count),
        read(by, (first + 1) % RECORDS),
        write(by, (first + by) % RECORDS, 1),
        read(by, first),
      ]);
    }
  });
  await Promise.all(work);
  for (let record = 0; record < RECORDS; record++) await read(0, record);
  await Promise.all(clients.map((one) => one[Symbol.asyncDispose]()));
  return seen;
}

for (const source of ['memory:4M', 'file', 'direct file']) {
  test(`writes that overlap on two threads do not interleave (${source})`, async (t) => {
    const isDirect = source === 'direct file';
    if (isDirect && noDirect) return t.skip(noDirect);
    const path = source.startsWith('memory:') ? source : file('overlap');
    const exports = [{ name: 'disk', source: path, directIo: isDirect }];
    await using server = await serveSource('', { exports });
    assert.equal(await overlappingLoad(server, 40), 40 * 4 * 2 + RECORDS);
  });
}

test('clients of 512 bytes on two threads share blocks of 4 KiB', async (t) => {
  if (noDirect) return t.skip(noDirect);
  const exports = [{ name: 'disk', source: file('sectors'), directIo: true }];
  await using server = await serveSource('', { exports });
  const last = await smallWriters(server, { sectors: 32, rounds: 50 });
  const content = fs.readFileSync(at('sectors'));
  assert.deepEqual(
    last.map((_, sector) => content[sector * 512]!),
    last,
  );
});

test('a thread that dies takes its own connections only, and another takes its place', async () => {
  const { env, ports, kill } = mortal();
  const troubles: { who: string; error: unknown }[] = [];
  const reported = Promise.withResolvers<void>();
  const onTrouble = (who: string, error: unknown) => {
    troubles.push({ who, error });
    if (who === 'thread 1') reported.resolve();
  };
  await using server = await serveSource(file('crash'), { onTrouble }, env);
  const [first, second] = [await client(server), await client(server)];
  const steady = await connect(env, server.uri, { connections: 1 });
  await first.write(new Uint8Array(8).fill(1), 0, 0);
  await first.flush();
  // What was not flushed is written again by a client that connects again, to another thread.
  await steady.write(new Uint8Array(8).fill(3), 2 * MIB, 0);
  const busy = Array.from({ length: 50 }, () =>
    Promise.resolve(first.write(new Uint8Array(MIB).fill(9), MIB, 0)).catch(() => 'lost'),
  );
  kill(0);
  await reported.promise;
  await Promise.all(busy);
  assert.deepEqual([(troubles[0]!.error as { code: string }).code], ['NBD_THREAD']);
  await assert.rejects(async () => first.read(new Uint8Array(8), 0));
  await second.write(new Uint8Array(MIB).fill(4), MIB, 0);
  await steady.flush();
  const third = await client(server);
  const fourth = await client(server);
  for (const one of [second, third, fourth]) {
    const bytes = new Uint8Array(8);
    await one.read(bytes, 0);
    assert.deepEqual([...bytes], Array(8).fill(1));
    await one.write(new Uint8Array(MIB).fill(5), MIB, 0);
    await one.read(bytes, 2 * MIB);
    assert.deepEqual([...bytes], Array(8).fill(3));
  }
  assert.equal(ports.length, 3);
  assert.deepEqual(
    troubles.filter(({ who }) => who.startsWith('thread')).map(({ who }) => who),
    ['thread 1'],
  );
  for (const one of [first, second, steady, third, fourth]) await one[Symbol.asyncDispose]();
});

test('a server whose threads die again and again gives up, and says so', async () => {
  const { env, ports, kill } = mortal();
  const options: Partial<ServeOnThreadsOptions> = { threads: 1, onTrouble: () => kill(next()) };
  let killed = 0;
  const next = () => killed++;
  // Each death kills the successor: the first message that it hears ends it.
  const base = env.workers.start;
  const doomed: Env = {
    ...env,
    workers: {
      ...env.workers,
      start: (module, handlers) => {
        const port = base(module, handlers);
        if (ports.length > 1) port.post(null);
        return port;
      },
    },
  };
  await using server = await serveSource(file('doomed'), options, doomed);
  kill(0);
  const error = await server.failed;
  assert.equal(error.code, 'NBD_THREAD');
  assert.equal(ports.length, 1 + RESTARTS_MAX);
  await assert.rejects(async () => client(server, { timeoutMs: 2_000 } as ConnectOptions));
});

test('a file that was replaced meanwhile is not served by a new thread', async () => {
  const { env, kill } = mortal();
  const path = file('replaced');
  await using server = await serveSource(path, { threads: 1 }, env);
  fs.renameSync(path, `${path}.old`);
  file('replaced');
  kill(0);
  const error = await server.failed;
  assert.match((error.cause as Error).message, /not the file that it was/);
});

test('over TLS several threads serve whom the keys let in, and nobody else', async () => {
  const keysOf = (digit: string) => ({
    kind: 'pre-shared-keys' as const,
    keys: parseKeys(`alice:${digit.repeat(32)}`, 'keys'),
  });
  const said: string[] = [];
  const onTrouble = (who: string, error: unknown) => void said.push(`${who} ${String(error)}`);
  const tls = { mode: 'require', credentials: keysOf('a') } as const;
  await using server = await serveSource('memory:1M', { tls, onTrouble });
  const clients = await Promise.all(
    [0, 1, 2].map(() => client(server, { tls: { ...keysOf('a'), user: 'alice' } })),
  );
  const bytes = new Uint8Array(300_000).fill(7);
  await clients[0]!.write(bytes, 11, 0);
  for (const one of clients) {
    const found = new Uint8Array(bytes.byteLength);
    await one.read(found, 11);
    assert.deepEqual(found, bytes);
  }
  await assert.rejects(() => client(server, { tls: { ...keysOf('b'), user: 'alice' } }));
  for (const one of clients) await one[Symbol.asyncDispose]();
  await server.close();
  assert(!said.join('\n').includes('aaaa'), 'the key is nowhere in what is told');
});

test('the limit of connections holds for all threads together', async () => {
  await using server = await serveSource('memory:1M', { connectionsMax: 3 });
  const clients = await Promise.all([0, 1, 2].map(() => client(server)));
  assert.equal(server.connectionCount, 3);
  await assert.rejects(() => client(server));
  for (const one of clients) await one[Symbol.asyncDispose]();
});

test('closing under load answers what was taken, and what was flushed is there', async () => {
  const server = await serveSource(file('closing', 16 * MIB), { threads: 3 });
  const clients = await Promise.all(Array.from({ length: 6 }, () => client(server)));
  const flushed = new Uint8Array(6);
  const work = clients.map(async (one, owner) => {
    try {
      for (let round = 1; ; round = (round % 250) + 1) {
        await one.write(new Uint8Array(64 * 1024).fill(round), owner * 64 * 1024, 0);
        await one.flush();
        flushed[owner] = round;
      }
    } catch {
      return; // The server has ended.
    }
  });
  while (flushed.some((round) => round < 3)) await new Promise(setImmediate);
  await server.close();
  await Promise.all(work);
  const content = fs.readFileSync(at('closing'));
  for (const [owner, round] of flushed.entries()) {
    const found = content[owner * 64 * 1024]!;
    assert([round, round + 1].includes(found), `${found} is older than ${round}`);
  }
  assert.equal(server.connectionCount, 0);
  await server.close();
});

test('what threads cannot serve is refused, each with its reason', async () => {
  const path = file('one');
  const refusals: [Partial<ServeOnThreadsOptions>, string][] = [
    [{ threads: 0 }, 'NBD_UNSUPPORTED'],
    [{ threads: 17 }, 'NBD_UNSUPPORTED'],
    [{ exports: [{ name: 'a', source: 'nbd://localhost/a' }] }, 'NBD_UNSUPPORTED'],
    [{ exports: ['a', 'b'].map((name) => ({ name, source: path })) }, 'NBD_UNSUPPORTED'],
    [{ exports: [{ name: 'a', source: at('no/where') }] }, 'DEVICE_NOT_FOUND'],
    [{ exports: [{ name: 'a', source: at('absent') }] }, 'DEVICE_NOT_FOUND'],
    [{ exports: [{ name: 'a', source: 'memory:4000T' }] }, 'DEVICE_SIZE'],
  ];
  for (const [options, code] of refusals) {
    await assert.rejects(() => serveSource(path, options), { code }, JSON.stringify(options));
  }
});
