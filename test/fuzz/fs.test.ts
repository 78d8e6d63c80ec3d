/** Goal: the parsers survive a first few mutated images; `npm run fuzz -- fs` goes on. */
import { test } from 'node:test';
import { target as fs } from './fs.suite.ts';
import { firstTrials } from './target.ts';

const TRIALS = 50;

test('mutated disk images are survived', { timeout: 120_000 }, () => firstTrials('fs', fs, TRIALS));
