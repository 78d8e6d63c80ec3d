/** Goal: what a group cannot be is said before anything is opened. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { namedSources } from './exported-volume.ts';

type ExportValues = Parameters<typeof namedSources>[0];

/** As on the command line. */
function valuesOf(group: string, sources: readonly string[]): ExportValues {
  return { group, sources, name: undefined, to: ['provider'] } as unknown as ExportValues;
}

test('a group has a name of one word, and volumes that are named once, 32 at most', () => {
  const many = Array.from({ length: 33 }, (_, at) => `v${at}=disk-${at}`);
  const [first] = namedSources(valuesOf('db', many.slice(0, 32)));
  assert.deepEqual(first, { source: 'disk-0', name: 'v0', isNamed: true });
  for (const [group, sources, message] of [
    ['d b', ['a=x'], /--group/],
    ['../db', ['a=x'], /--group/],
    ['db', many, /32 volumes/],
    ['db', ['a=x', 'a=y'], /twice/],
    ['db', ['x'], /VOL=SOURCE/],
  ] as const) {
    assert.throws(() => namedSources(valuesOf(group, sources)), message);
  }
});
