/** Goal: the fuzzer's trials hold on a first few seeds; `npm run fuzz` goes on from there. */
import { test } from 'node:test';
import { target as nbd } from './nbd.suite.ts';
import { target as wire } from './wire.suite.ts';

const TRIALS = 300;

test('mutated NBD sessions and replies are survived', { timeout: 120_000 }, async () => {
  const trial = await nbd.prepare();
  for (let seed = 1; seed <= TRIALS; seed += 1) {
    try {
      await trial(seed);
    } catch (error) {
      throw new Error(`failed: replay with npm run fuzz -- nbd 0 ${seed}`, { cause: error });
    }
  }
});

test('mutated sessions, bodies and packets of the wire are survived', async () => {
  const trial = await wire.prepare();
  for (let seed = 1; seed <= TRIALS; seed += 1) {
    try {
      await trial(seed);
    } catch (error) {
      throw new Error(`failed: replay with npm run fuzz -- wire 0 ${seed}`, { cause: error });
    }
  }
});
