/** Goal: what is kept of journals is bounded, however many read at a time, and is read again. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodeFrame } from '../../../codec/index.ts';
import { sha256 } from '../../../core/index.ts';
import { encodeBlockData, KIND_DATA } from '../../../wire/index.ts';
import { SECTION_CACHE_BYTES } from '../limits.ts';
import type { Journal } from './journal.ts';
import { SectionCache } from './section-cache.ts';

const MIB = 1024 * 1024;
const level = { algorithm: 'zstd', level: 1 } as const;

/** A message with a MiB of such bytes, as a journal has it. */
function recordOf(fill: number): Uint8Array {
  const bytes = new Uint8Array(MIB).fill(fill);
  const target = new Uint8Array(2 * MIB);
  const frame = target.subarray(0, encodeFrame([{ kind: 'plain', bytes }], level, target));
  const entry = { kind: KIND_DATA, offsetBytes: 0, lengthBytes: MIB, hash: sha256(bytes) };
  const entries = [{ ...entry, blockClass: 0, importance: 0 }];
  return Buffer.concat(encodeBlockData({ volume: 1, epoch: 1, request: 0, entries, frame }));
}

/** Has its records one after the other; tells how often one was read. */
function journalOf(records: readonly Uint8Array[]) {
  const state = { reads: 0 };
  const places = records.map(({ byteLength }, at) => ({ atBytes: at, payloadBytes: byteLength }));
  const journal = {
    async read({ atBytes }: { atBytes: number }, target: Uint8Array) {
      state.reads += 1;
      target.set(records[atBytes]!);
    },
  } as unknown as Journal;
  return { state, places, journal };
}

test('what many have read at a time is not kept beyond the bound, and is right', async () => {
  const count = SECTION_CACHE_BYTES / MIB + 8;
  const records = Array.from({ length: count }, (_, at) => recordOf(at + 1));
  const { state, places, journal } = journalOf(records);
  const sections = new SectionCache();
  const readAt = async (at: number) => {
    const target = new Uint8Array(3);
    await sections.fill(target, { journal, place: places[at]! }, at);
    assert.deepEqual([...target], [at + 1, at + 1, at + 1]);
  };
  const all = places.map((_, at) => at);
  await Promise.all([...all, ...all].map(readAt));
  assert.equal(state.reads, count); // One for both.
  await readAt(count - 1);
  assert.equal(state.reads, count); // The last ones are still there.
  for (const at of all) await readAt(at);
  assert(state.reads >= count + 8, `${state.reads} reads`);
});

test('a section that could not be read is read again', async () => {
  const { state, places, journal } = journalOf([recordOf(7)]);
  const sections = new SectionCache();
  const { read } = journal;
  journal.read = () => Promise.reject(new Error('a bad sector'));
  const target = new Uint8Array(2);
  await assert.rejects(sections.fill(target, { journal, place: places[0]! }, 5), /bad sector/);
  journal.read = read;
  await sections.fill(target, { journal, place: places[0]! }, 5);
  assert.deepEqual([...target], [7, 7]);
  assert.equal(state.reads, 1);
});
