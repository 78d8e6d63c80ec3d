/** Goal: the short form of `npm run torture -- store`: some seeds of each trial, a few kills. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { KillRounds } from './store/kill.suite.ts';
import { type TrialName, trialNames, trials } from './store/trials.suite.ts';

/** Seeds that run here; the full run goes on far beyond them. */
const seeds: Record<TrialName, number> = {
  torn: 6,
  faults: 2,
  damage: 4,
  mutual: 3,
  suspended: 8,
};
const KILL_ROUNDS = 9;
const KILL_SEED = 3;

for (const name of trialNames) {
  test(`${name}: ${seeds[name]} seeds`, async () => {
    let states = 0;
    for (let seed = 0; seed < seeds[name]; seed++) states += await trials[name].run(seed);
    assert(states >= seeds[name], `${states} states`);
  });
}

test('operations that are killed or stopped at random moments', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'ferry-kills-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const rounds = new KillRounds(folder, KILL_SEED);
  const outcomes: string[] = [];
  for (let round = 0; round < KILL_ROUNDS; round++) outcomes.push(await rounds.next());
  assert(outcomes.includes('killed') || outcomes.includes('stopped'), outcomes.join());
});
