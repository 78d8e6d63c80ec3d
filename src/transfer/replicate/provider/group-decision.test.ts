/** Goal: a decision is told to the members that it was made for, until all of them have it. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { nodeEnv } from '../../../core/index.ts';
import { Decisions } from './group-decision.ts';

test('groups of one name and other members do not decide for each other', async () => {
  await using places = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), 'ferry-decisions-'));
  places.defer(() => rm(directory, { recursive: true }));
  const groupOf = (members: readonly string[]) => ({ owner: 'o', group: { name: 'db', members } });
  const [before, after] = [groupOf(['a', 'b']), groupOf(['a', 'c'])];
  const decisions = new Decisions(nodeEnv(), directory);
  await decisions.decide({ ...before, epoch: 10 });
  await decisions.decide({ ...after, epoch: 11 });
  assert.equal(await decisions.isDecided({ ...before, epoch: 10 }), true, 'b may still ask');
  assert.equal(await decisions.isDecided({ ...before, epoch: 11 }), false);
  await decisions.forget({ ...before, epoch: 10 });
  await decisions.forget({ ...before, epoch: 10 });
  assert.equal(await decisions.isDecided({ ...before, epoch: 10 }), false);
  assert.equal(await decisions.isDecided({ ...after, epoch: 11 }), true);
});
