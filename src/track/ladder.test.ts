/** Goal: the cheapest source that knows is taken, none passed over silently, all hear the end. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { memory } from '../device/index.ts';
import type { Snapshot } from '../store/index.ts';
import {
  type CannotSay,
  type ChangeAnswer,
  type ChangeSet,
  type ChangeSource,
  type ChangeSourceName,
  cannotSay,
} from './change-source.ts';
import { checksumSource, fullSource } from './comparison.ts';
import { findChanges } from './ladder.ts';

const since = { id: '12345678abcdef00', volume: 'vm', sizeBytes: 8192 } as Snapshot;
const committed = { kind: 'committed', snapshot: since } as const;
const failed = { kind: 'failed' } as const;
const question = { volume: 'vm', device: memory('vm', 8192), since };

/** A source with one answer; `told` collects who heard which end. */
function source(name: ChangeSourceName, told: string[], answer: Partial<ChangeSet> | CannotSay) {
  const finish = async ({ kind }: { kind: string }) => void told.push(`${name} ${kind}`);
  const known: ChangeSet = {
    kind: 'changes',
    source: name,
    precision: 'exact',
    changed: [],
    reason: 'it knows',
    finish,
  };
  const given: ChangeAnswer =
    answer.kind === 'cannot-say' ? { ...answer, finish } : { ...known, ...answer };
  return { name, changes: async () => given } satisfies ChangeSource;
}

const always = [fullSource(), checksumSource()];

test('sources are asked in order of cost, and those passed over say why', async () => {
  const told: string[] = [];
  const lost = cannotSay('tracker', 'lost', 'its state is gone');
  const asked = [...always, source('journal', told, {}), source('tracker', told, lost)];
  const found = await findChanges(asked, question, { choice: 'auto' });
  assert.equal(found.answer.source, 'journal');
  assert.deepEqual(
    found.passed.map((passed) => `${passed.source}: ${passed.reason}: ${passed.why}`),
    ['tracker: lost: its state is gone'],
  );
  await found.finish(committed);
  assert.deepEqual(told, ['tracker committed', 'journal committed']);
});

test('without any other source everything is compared, or read when there is nothing before', async () => {
  const compared = await findChanges(always, question, { choice: 'auto' });
  assert.deepEqual([compared.answer.kind, compared.answer.source], ['everything', 'checksum']);
  const first = await findChanges(always, { ...question, since: undefined }, { choice: 'auto' });
  assert.deepEqual([first.answer.kind, first.answer.source], ['everything', 'full']);
});

test('a source that was asked for by name is the only one, and an error if it cannot say', async () => {
  const told: string[] = [];
  const stale = cannotSay('qemu', 'stale', 'the bitmap is of another snapshot');
  const sources = [...always, source('tracker', told, {}), source('qemu', told, stale)];
  await assert.rejects(findChanges(sources, question, { choice: 'qemu' }), {
    code: 'TRACK_CANNOT_SAY',
    message: 'what changed of vm cannot be said by qemu: the bitmap is of another snapshot',
  });
  assert.deepEqual(told, ['qemu failed']);
  await assert.rejects(findChanges(sources, question, { choice: 'journal' }), {
    code: 'TRACK_SOURCE',
  });
  const full = await findChanges(sources, question, { choice: 'full' });
  assert.deepEqual([full.answer.kind, full.passed], ['everything', []]);
});

test('for the first snapshot a chosen source prepares, and everything is read', async () => {
  const told: string[] = [];
  const first = cannotSay('tracker', 'first', 'there is no snapshot yet');
  const sources = [...always, source('tracker', told, first), source('qemu', told, first)];
  const choice = { choice: 'tracker' } as const;
  const found = await findChanges(sources, { ...question, since: undefined }, choice);
  assert.equal(found.answer.source, 'full');
  await found.finish(committed);
  assert.deepEqual(told, ['tracker committed']);
});

test('what a distrusted source says is not used, but its moment is, and it goes on', async () => {
  const told: string[] = [];
  const view = memory('moment', 8192);
  const sources = [...always, source('tracker', told, { view })];
  const distrust = (name: string) => (name === 'tracker' ? 'an audit found it out' : undefined);
  const found = await findChanges(sources, question, { choice: 'auto', distrust });
  assert.equal(found.answer.source, 'checksum');
  assert.equal(found.passed[0]?.reason, 'untrusted');
  assert.equal(found.view, view);
  await found.finish(committed);
  assert.deepEqual(told, ['tracker committed']);
});

test('a source that gives a moment is asked whatever is chosen, and only its moment is used', async () => {
  const told: string[] = [];
  const view = memory('moment', 8192);
  const tracker: ChangeSource = { ...source('tracker', told, { view }), givesMoment: true };
  for (const choice of ['checksum', 'full'] as const) {
    const found = await findChanges([...always, tracker], question, { choice });
    assert.deepEqual([found.answer.source, found.view], [choice, view]);
    assert.equal(found.passed[0]?.reason, 'unwanted');
    await found.finish(committed);
  }
  assert.deepEqual(told, ['tracker committed', 'tracker committed']);
});

test('who began to watch after the moment that is read begins another time', async () => {
  const told: string[] = [];
  const view = memory('moment', 8192);
  const first = cannotSay('tracker', 'first', 'it begins', { view });
  const later = cannotSay('qemu', 'first', 'it begins too');
  const sources = [...always, source('tracker', told, first), source('qemu', told, later)];
  const found = await findChanges(sources, question, { choice: 'auto' });
  assert.equal(found.view, view);
  await found.finish(committed);
  assert.deepEqual(told, ['tracker committed', 'qemu failed']);
});

test('a set without a view is never read at an earlier moment', async () => {
  const told: string[] = [];
  const first = cannotSay('tracker', 'first', 'it begins', { view: memory('moment', 8192) });
  const sources = [...always, source('tracker', told, first), source('qemu', told, {})];
  const found = await findChanges(sources, question, { choice: 'auto' });
  assert.deepEqual([found.answer.source, found.view], ['qemu', undefined]);
  await found.finish(committed);
  assert.deepEqual(told, ['tracker committed', 'qemu committed']);
});

test('a source that throws ends the run for those asked before, and a failed end is told to all', async () => {
  const told: string[] = [];
  const lost = cannotSay('tracker', 'lost', 'it is gone');
  const broken: ChangeSource = {
    name: 'qemu',
    changes: () => Promise.reject(new Error('no')),
  };
  const sources = [...always, source('tracker', told, lost), broken];
  await assert.rejects(findChanges(sources, question, { choice: 'auto' }), /no/);
  assert.deepEqual(told, ['tracker failed']);

  const refuses = {
    finish: async () => {
      throw new Error('cannot clear');
    },
  };
  const others = [...always, source('extents', told, refuses), source('qemu', told, lost)];
  const found = await findChanges(others, question, { choice: 'auto' });
  await assert.rejects(found.finish(failed), /cannot clear/);
  assert.deepEqual(told, ['tracker failed', 'qemu failed']);
});
