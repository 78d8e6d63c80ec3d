/** Goal: the estimate is requests and bytes times their prices, also of one's own list. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { nodeEnv } from '../core/index.ts';
import { defaultPrices, estimateCost, type RepositoryStats, readPrices } from './index.ts';

const GIB = 2 ** 30;

/** Ten packs of a GiB in all, each in parts; ten log entries; nothing else. */
const stats: RepositoryStats = {
  snapshots: 1,
  volumes: 1,
  logicalBytes: GIB,
  dataBytes: GIB,
  uniqueBytes: GIB,
  uniqueChunks: 1000,
  storedBytes: GIB,
  objects: { packs: { count: 10, bytes: GIB }, log: { count: 10, bytes: 0 } },
  logEntries: 10,
  frames: 2000,
  loosePacks: 10,
  putRequests: 160,
};

test('storage, requests and traffic add up', () => {
  const { items } = estimateCost(stats, defaultPrices);
  const costs = Object.fromEntries(items.map(({ what, cost }) => [what, cost]));
  assert.ok(Math.abs(costs.month! - 0.023) < 1e-9);
  assert.ok(Math.abs(costs.written! - (170 * 0.005 + 10 * 0.0004) / 1000) < 1e-9);
  assert.ok(Math.abs(costs.readAll! - (0.09 + (2000 * 0.0004) / 1000)) < 1e-9);
  assert.ok(Math.abs(costs.open! - (32 * 0.0004 + 2 * 0.005) / 1000) < 1e-9);
});

test("a price list of one's own replaces what it names, and must make sense", async () => {
  const folder = await mkdtemp(join(tmpdir(), 'ferry-prices-'));
  try {
    const path = join(folder, 'prices.json');
    const { files } = nodeEnv();
    await writeFile(path, '{ "storedGibMonth": 0.005, "currency": "EUR" }');
    const prices = await readPrices(files, path);
    assert.deepEqual(prices, {
      ...defaultPrices,
      name: path,
      storedGibMonth: 0.005,
      currency: 'EUR',
    });
    for (const bad of ['', '[', '7', '{"put1000":"1"}', '{"put1000":-1}', '{"puts":1}']) {
      await writeFile(path, bad);
      await assert.rejects(readPrices(files, path), { code: 'TRANSFER_PRICES' }, bad);
    }
  } finally {
    await rm(folder, { recursive: true });
  }
});
