/** Goal: a repository far away is read with many requests in flight, and not twice from afar. */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { codecPool } from '../codec/index.ts';
import { equalBytes, nodeEnv } from '../core/index.ts';
import { BUCKET, FakeS3, fakeCredentials } from '../objects/s3-server.suite.ts';
import { check, type Repository } from '../store/index.ts';
import { backUp, noise, restored } from './backup/model-repository.fixture.ts';
import { initRepository, openRepository, type PlaceOptions } from './repository/index.ts';

const env = nodeEnv();
const LOCATION = `s3://${BUCKET}/disks`;
const MIB = 1024 * 1024;
/** Long beside what a busy machine takes to send the next request: all of them wait together. */
const LATENCY_MS = 500;

type Setting = { readonly server: FakeS3; readonly bytes: Uint8Array; readonly cache: string };

/** A server with a snapshot of `bytes`. */
async function withSnapshot(use: (setting: Setting) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'ferry-far-'));
  try {
    await using server = await FakeS3.start();
    const setting = { server, bytes: noise(12 * MIB, 1), cache: join(folder, 'cache') };
    await initRepository(env, LOCATION, optionsOf(setting, false));
    {
      await using repository = await openRepository(env, LOCATION, optionsOf(setting, false));
      await backUp(env, repository, setting.bytes, {});
    }
    await use(setting);
  } finally {
    await rm(folder, { recursive: true });
  }
}

function optionsOf({ server, cache }: Setting, isCached: boolean): PlaceOptions {
  const makeDirectory = async () => void (await mkdir(cache, { recursive: true }));
  return {
    s3: {
      access: { endpoint: server.endpoint, credentials: fakeCredentials },
      writer: { directory: cache, makeDirectory, nodeName: 'here', takeOver: false },
      ...(isCached && { cache: { directory: cache, makeDirectory, bytesMax: 64 * MIB } }),
    },
  };
}

/** Reads the newest snapshot from beginning to end, as a client with one request at a time does. */
async function readInOrder(repository: Repository): Promise<Uint8Array> {
  await using device = await repository.device(repository.resolve('disk@latest'));
  const bytes = new Uint8Array(device.sizeBytes);
  for (let at = 0; at < bytes.byteLength; at += 64 * 1024) {
    await device.read(bytes.subarray(at, at + 64 * 1024), at);
  }
  return bytes;
}

test('a restore, and a reader with one request at a time, keep many range reads in flight', () =>
  withSnapshot(async (setting) => {
    const { server, bytes } = setting;
    server.options = { latencyMs: LATENCY_MS };
    for (const read of [
      (repository: Repository) => restored(env, repository, repository.resolve('disk@latest')),
      readInOrder,
    ]) {
      await using repository = await openRepository(env, LOCATION, optionsOf(setting, false));
      server.readingMax = 0;
      assert.ok(equalBytes(await read(repository), bytes));
      assert.ok(server.readingMax >= 8, `${server.readingMax} at once`);
    }
  }));

test('a long log is read many entries at a time', () =>
  withSnapshot(async (setting) => {
    const { server, bytes } = setting;
    {
      await using repository = await openRepository(env, LOCATION, optionsOf(setting, false));
      const few = bytes.subarray(0, 64 * 1024);
      for (let at = 0; at < 20; at++) await backUp(env, repository, few, { volume: `v${at}` });
    }
    let reading = 0;
    let readingMax = 0;
    server.options = {
      latencyMs: LATENCY_MS,
      plan: ({ key, method }) => {
        if (!key.includes('/log/') || method !== 'GET') return undefined;
        readingMax = Math.max(readingMax, ++reading);
        setTimeout(() => reading--, LATENCY_MS);
        return undefined;
      },
    };
    await using repository = await openRepository(env, LOCATION, optionsOf(setting, false));
    assert.equal(repository.snapshots().length, 21);
    assert.ok(readingMax >= 6, `${readingMax} at once`);
  }));

test('a second mount reads hot packs from this host', () =>
  withSnapshot(async (setting) => {
    const { server, bytes } = setting;
    const counts: number[] = [];
    for (let round = 0; round < 2; round++) {
      await using repository = await openRepository(env, LOCATION, optionsOf(setting, true));
      const before = server.counts.GET ?? 0;
      assert.ok(equalBytes(await readInOrder(repository), bytes));
      counts.push((server.counts.GET ?? 0) - before);
    }
    assert.ok(counts[0]! > 20, `${counts[0]} reads at first`);
    assert.equal(counts[1], 0);
  }));

test('a damaged cache costs requests, and gives no wrong byte', () =>
  withSnapshot(async (setting) => {
    for (let round = 0; round < 3; round++) {
      await using repository = await openRepository(env, LOCATION, optionsOf(setting, true));
      assert.ok(equalBytes(await readInOrder(repository), setting.bytes));
      await repository[Symbol.asyncDispose]();
      const names = await readdir(setting.cache);
      assert.ok(names.length > 20);
      for (const [at, name] of names.entries()) {
        const copy = await readFile(join(setting.cache, name));
        copy[(at * 997) % copy.length]! ^= 1;
        await writeFile(join(setting.cache, name), copy);
      }
    }
  }));

test('what comes wrong once is read again; what is stored wrong is damage, cache or not', () =>
  withSnapshot(async (setting) => {
    const { server } = setting;
    const [pack] = [...server.objects.keys()].filter((key) => key.includes('/packs/'));
    const good = server.objects.get(pack!)!;
    const bad = Buffer.from(good.bytes);
    bad[1000]! ^= 1;
    for (const isCached of [true, false]) {
      // The first answer from that place is wrong, the second one right.
      let isWrong = false;
      server.options = {
        plan: ({ key, method }) => {
          if (key !== pack || method !== 'GET') return undefined;
          server.objects.set(pack!, isWrong ? good : { ...good, bytes: bad });
          isWrong = !isWrong;
          return undefined;
        },
      };
      await using repository = await openRepository(env, LOCATION, optionsOf(setting, isCached));
      assert.ok(equalBytes(await readInOrder(repository), setting.bytes));
    }
    server.options = {};
    server.objects.set(pack!, { ...good, bytes: bad });
    await using repository = await openRepository(env, LOCATION, optionsOf(setting, false));
    await using pool = codecPool(env, 0);
    const { problems } = await check(repository, { readData: true, pool });
    assert.notEqual(problems.length, 0);
    await assert.rejects(readInOrder(repository), { code: 'DEVICE_IO' });
  }));
