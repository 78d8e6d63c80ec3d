/** Goal: snapshots come back as they were, and bytes that are no table are told. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ByteWriter, FormatError } from '../core/index.ts';
import { StoreError } from './errors.ts';
import { CHECKPOINT_SNAPSHOTS_MAX } from './limits.ts';
import type { Snapshot } from './snapshot.ts';
import { decodeSnapshots, encodeSnapshots } from './snapshot-table.ts';

const hex = (bytes: number) =>
  fc
    .uint8Array({ minLength: bytes, maxLength: bytes })
    .map((id) => Buffer.from(id).toString('hex'));
const plain = <T>(fields: { [K in keyof T]: fc.Arbitrary<T[K]> }) =>
  fc.record(fields, { noNullPrototype: true });
const text = fc.string({ unit: 'binary', maxLength: 20 });

const snapshots: fc.Arbitrary<Snapshot> = fc.record(
  {
    id: hex(16),
    volume: fc.constantFrom('disk', 'Größe', 'a b'),
    time: text,
    sizeBytes: fc.maxSafeNat(),
    chunkBytes: fc.integer({ min: 12, max: 20 }).map((power) => 2 ** power),
    root: fc.option(plain({ record: hex(32), ordinal: fc.nat() }), { nil: undefined }),
    digest: hex(32),
    parent: fc.option(hex(16), { nil: undefined }),
    source: text,
    origin: text,
    readBytes: fc.maxSafeNat(),
    changedBytes: fc.maxSafeNat(),
    storedBytes: fc.maxSafeNat(),
    unreadable: fc.array(plain({ offsetBytes: fc.maxSafeNat(), lengthBytes: fc.nat() })),
    tags: fc.array(text, { maxLength: 3 }),
    held: fc.boolean(),
    copyOf: hex(16),
  },
  { noNullPrototype: true, requiredKeys: [...keysBut('copyOf')] },
);

function keysBut(_optional: 'copyOf'): Exclude<keyof Snapshot, 'copyOf'>[] {
  return [
    ...(['id', 'volume', 'time', 'sizeBytes', 'chunkBytes', 'root', 'digest', 'parent'] as const),
    ...(['source', 'origin', 'readBytes', 'changedBytes', 'storedBytes'] as const),
    ...(['unreadable', 'tags', 'held'] as const),
  ];
}

test('whatever snapshots say comes back; without the key only what anybody may see', () => {
  fc.assert(
    fc.property(fc.array(snapshots, { maxLength: 12 }), (all) => {
      const { visible, hidden } = encodeSnapshots(all);
      assert.deepEqual(decodeSnapshots(visible, hidden, 'checkpoints/1'), all);
      const blind = decodeSnapshots(visible, undefined, 'checkpoints/1');
      for (const [at, { id, sizeBytes, chunkBytes, root }] of all.entries()) {
        const shown = { id, sizeBytes, chunkBytes, root, volume: '(sealed)', origin: '', tags: [] };
        assert.deepEqual({ ...blind[at], ...shown }, blind[at]);
      }
    }),
    { numRuns: 60 },
  );
});

test('a table with other, fewer or more bytes is another table or a typed error', () => {
  fc.assert(
    fc.property(
      fc.array(snapshots, { minLength: 1, maxLength: 3 }),
      fc.nat(),
      fc.integer({ min: 1, max: 255 }),
      fc.constantFrom('flip', 'cut', 'more'),
      (all, where, change, how) => {
        const { visible, hidden } = encodeSnapshots(all);
        for (const part of [visible, hidden]) {
          const at = where % part.byteLength;
          const hurt = how === 'cut' ? part.slice(0, at) : Buffer.concat([part, part.slice(0, 1)]);
          if (how === 'flip') hurt[at] = hurt[at]! ^ change;
          const bytes = how === 'flip' ? hurt.subarray(0, -1) : hurt;
          const read = () =>
            part === visible
              ? decodeSnapshots(bytes, hidden, 'checkpoints/1')
              : decodeSnapshots(visible, bytes, 'checkpoints/1');
          try {
            read();
            assert.equal(how, 'flip', 'a table of another length was taken');
          } catch (error) {
            assert(error instanceof FormatError || error instanceof StoreError, String(error));
          }
        }
      },
    ),
    { numRuns: 300 },
  );
});

test('a table that claims very many snapshots takes no memory for them', () => {
  const claims = Uint8Array.of(255, 255, 255, 255, 255, 255, 15, 1, 2, 3);
  assert.throws(() => decodeSnapshots(claims, new Uint8Array(0), 'checkpoints/1'), FormatError);
});

test('a table of more snapshots than there may be is refused by its number alone', () => {
  const writer = new ByteWriter(16);
  writer.varint(CHECKPOINT_SNAPSHOTS_MAX + 1);
  assert.throws(() => decodeSnapshots(writer.view(), undefined, 'x'), /number of snapshots/);
});
