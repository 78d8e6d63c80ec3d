/** Goal: what is written again leaves the bytes that the first writing left, and stays bounded. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { COMMAND_TRIM, COMMAND_WRITE, COMMAND_WRITE_ZEROES, FLAG_FUA } from './constants.ts';
import { Operation } from './operation.ts';
import { WriteLog } from './write-log.ts';

const SIZE = 64;

function change(at: number, lengthBytes: number, fill: number, flags = 0): Operation {
  const range = { offsetBytes: at, lengthBytes, flags };
  if (fill === 0) return new Operation({ command: COMMAND_WRITE_ZEROES, ...range });
  const source = new Uint8Array(lengthBytes).fill(fill);
  return new Operation({ command: COMMAND_WRITE, ...range, source });
}

function apply(bytes: Uint8Array, { source, offsetBytes, lengthBytes }: Operation): void {
  bytes.set(source ?? new Uint8Array(lengthBytes), offsetBytes);
}

test('a run has no overlaps, and all runs in order leave what was left before', () => {
  const changes = fc.array(
    fc.tuple(fc.nat(SIZE - 8), fc.integer({ min: 1, max: 8 }), fc.nat(255), fc.boolean()),
    { maxLength: 60 },
  );
  fc.assert(
    fc.property(changes, fc.nat(60), fc.integer({ min: 1, max: 9 }), (list, at, runMax) => {
      const log = new WriteLog();
      const durable = new Uint8Array(SIZE);
      const expected = new Uint8Array(SIZE);
      for (const [index, [start, lengthBytes, fill, isForced]] of list.entries()) {
        const operation = change(start, lengthBytes, fill, isForced ? FLAG_FUA : 0);
        apply(expected, operation);
        log.add(operation);
        // The caller may use its buffer again.
        operation.source?.fill(255);
        if (index === at) {
          durable.set(expected);
          log.forget(log.mark());
        } else if (isForced) durable.set(expected.subarray(start, start + lengthBytes), start);
      }
      for (const run of log.runs(runMax)) {
        assert.ok(run.length <= runMax);
        // In any order: here backwards.
        for (const operation of run.reverse()) apply(durable, operation);
      }
      assert.deepEqual(durable, expected);
    }),
  );
});

test('a mark forgets what came before it, not what came after', () => {
  const log = new WriteLog({ bytesMax: 40, entriesMax: 100 });
  log.add(change(0, 10, 1));
  const mark = log.mark();
  log.add(change(8, 10, 2));
  assert.equal(log.isHalfFull, true);
  log.forget(mark);
  assert.equal(log.isHalfFull, false);
  assert.deepEqual(
    [...log.runs(9)].flat().map(({ offsetBytes }) => offsetBytes),
    [8],
  );
  log.forget(mark);
  assert.equal(log.isEmpty, false);
  log.forget(log.mark());
  assert.equal(log.isEmpty, true);
});

test('it is full by bytes and by entries, at the limit and not before', () => {
  const bytes = new WriteLog({ bytesMax: 20, entriesMax: 100 });
  bytes.add(change(0, 19, 1));
  assert.equal(bytes.isFull, false);
  bytes.add(change(0, 1, 1));
  assert.equal(bytes.isFull, true);
  const entries = new WriteLog({ bytesMax: 20, entriesMax: 2 });
  const trim = new Operation({ command: COMMAND_TRIM, flags: 0, offsetBytes: 0, lengthBytes: 9 });
  entries.add(trim);
  assert.equal(entries.isFull, false);
  entries.add(trim);
  assert.equal(entries.isFull, true);
});

test('a forced write into an empty log needs no repetition', () => {
  const log = new WriteLog();
  log.add(change(0, 4, 1, FLAG_FUA));
  assert.equal(log.isEmpty, true);
});
