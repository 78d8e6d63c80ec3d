/** Goal: what the writer writes the reader reads, and no input makes the reader pass its end. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ByteReader, ByteWriter, FormatError } from './bytes.ts';

type Field = { kind: 'u8' | 'u16' | 'u32' | 'u53' | 'varint'; value: number } | Uint8Array;

const number = (kind: Exclude<Field, Uint8Array>['kind'], max: number): fc.Arbitrary<Field> =>
  fc.oneof(fc.maxSafeNat(), fc.nat(300)).map((value) => ({ kind, value: value % (max + 1) }));
const field: fc.Arbitrary<Field> = fc.oneof(
  number('u8', 0xff),
  number('u16', 0xffff),
  number('u32', 0xffffffff),
  fc.maxSafeNat().map((value): Field => ({ kind: 'u53', value })),
  fc.oneof(fc.maxSafeNat(), fc.nat(300)).map((value): Field => ({ kind: 'varint', value })),
  fc.uint8Array({ maxLength: 40 }),
);

test('every field comes back as it was written', () => {
  fc.assert(
    fc.property(fc.array(field), (fields) => {
      const writer = new ByteWriter(1);
      for (const each of fields) {
        if (each instanceof Uint8Array) writer.put(each);
        else writer[each.kind](each.value);
      }
      const reader = new ByteReader(writer.view());
      assert.equal(reader.remaining, writer.length);
      for (const each of fields) {
        if (each instanceof Uint8Array) assert.deepEqual(reader.take(each.byteLength), each);
        else assert.equal(reader[each.kind](), each.value);
      }
      reader.end();
    }),
  );
});

test('arbitrary bytes are a value or a FormatError, and equal varints have equal bytes', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 12 }), (bytes) => {
      const reader = new ByteReader(bytes);
      let value: number;
      try {
        value = reader.varint();
      } catch (error) {
        assert.ok(error instanceof FormatError);
        return;
      }
      const writer = new ByteWriter();
      writer.varint(value);
      assert.deepEqual(writer.view(), bytes.subarray(0, reader.position));
    }),
    { numRuns: 1000 },
  );
});

test('one byte too few, one too many, and one above a limit are refused', () => {
  const bytes = Uint8Array.of(1, 2, 3);
  assert.throws(() => new ByteReader(bytes).u32(), FormatError);
  assert.throws(() => new ByteReader(bytes).take(4), /4 bytes wanted at 0, the input ends at 3/);
  assert.throws(() => new ByteReader(bytes).end(), /3 bytes follow the end/);
  assert.equal(new ByteReader(Uint8Array.of(5)).count(5, 'records'), 5);
  assert.throws(() => new ByteReader(Uint8Array.of(6)).count(5, 'records'), /records is 6/);
  const large = Uint8Array.of(0, 0, 0, 0, 0, 0, 0x20, 0);
  assert.throws(() => new ByteReader(large).u53(), /exceeds 2\^53/);
});
