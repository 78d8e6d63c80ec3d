/** Goal: the fuzzer's trials hold on a first few seeds; `npm run fuzz` goes on from there. */
import { test } from 'node:test';
import { target as nbd } from './nbd.suite.ts';
import { firstTrials } from './target.ts';
import { target as wire } from './wire.suite.ts';

const TRIALS = 100;

test('mutated NBD sessions and replies are survived', { timeout: 120_000 }, () =>
  firstTrials('nbd', nbd, TRIALS),
);

test('mutated sessions, bodies and packets of the wire are survived', () =>
  firstTrials('wire', wire, TRIALS));
