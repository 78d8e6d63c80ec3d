/** Goal: the parsers survive a first few mutated images; `npm run fuzz -- fs` goes on. */
import { test } from 'node:test';
import { target as fs } from './fs.suite.ts';

const TRIALS = 150;

test('mutated disk images are survived', { timeout: 120_000 }, async () => {
  const trial = await fs.prepare();
  for (let seed = 1; seed <= TRIALS; seed += 1) {
    try {
      await trial(seed);
    } catch (error) {
      throw new Error(`failed: replay with npm run fuzz -- fs 0 ${seed}`, { cause: error });
    }
  }
});
