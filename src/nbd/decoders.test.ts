/**
 * Goal: what the decoders deliver does not depend on how bytes were cut, and lies end in errors.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { replyDecoderSession } from './reply-decoder.suite.ts';
import { requestDecoderSession } from './request-decoder.suite.ts';

const STEPS = 20_000;

for (const [what, session] of [
  ['requests', requestDecoderSession],
  ['replies', replyDecoderSession],
] as const) {
  test(`the decoder of ${what} does as its model does`, () => {
    let steps = 0;
    for (let seed = 1; steps < STEPS; seed += 1) {
      try {
        steps += session(seed);
      } catch (error) {
        throw new Error(`failed: replay with npm run fuzz -- nbd-decoders 0 ${seed}`, {
          cause: error,
        });
      }
    }
    assert.ok(steps >= STEPS);
  });
}
