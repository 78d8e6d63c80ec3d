/** Goal: frames come back as they were made, and no damage to one passes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ByteWriter, crc32, equalBytes } from '../core/index.ts';
import type { Compression } from './compression.ts';
import { CodecError } from './errors.ts';
import {
  checksumOfFrame,
  encodeFrame,
  type Frame,
  type FrameInput,
  PARENT_REFERENCE_BYTES,
  parseFrame,
  plainRecord,
  plainSection,
} from './frame.ts';
import {
  FRAME_RAW_MAX,
  FRAME_RECORDS_MAX,
  FRAME_STORED_MAX,
  FRAME_UNFOLDED_MAX,
} from './limits.ts';

const zstd: Compression = { algorithm: 'zstd', level: 1 };
const compressions: readonly Compression[] = [
  zstd,
  { algorithm: 'raw' },
  { algorithm: 'lz4' },
  { algorithm: 'zstd', level: 9 },
];

const reference = fc.uint8Array({
  minLength: PARENT_REFERENCE_BYTES,
  maxLength: PARENT_REFERENCE_BYTES,
});
const plain: fc.Arbitrary<FrameInput> = fc
  .oneof(
    fc.uint8Array({ maxLength: 100 }),
    fc.nat(5000).map((length) => new Uint8Array(length)),
  )
  .map((bytes) => ({ kind: 'plain', bytes }));
const run: fc.Arbitrary<FrameInput> = fc
  .tuple(fc.uint8Array({ minLength: 1, maxLength: 60 }), fc.nat(5000), fc.nat(5000))
  .map(([bytes, skipBytes, behind]) => {
    return { kind: 'plain', bytes, skipBytes, rawBytes: skipBytes + bytes.byteLength + behind };
  });
const patch: fc.Arbitrary<FrameInput> = fc
  .tuple(
    fc.nat(FRAME_RAW_MAX / 2),
    fc.uint8Array({ maxLength: 60 }),
    fc.array(reference, { minLength: 1, maxLength: 4 }),
  )
  .map(([rawBytes, bytes, parents]) => ({ kind: 'patch', rawBytes, patch: bytes, parents }));
const inputs = fc.array(fc.oneof(plain, run, patch), { minLength: 1, maxLength: 12 });

function frameOf(records: readonly FrameInput[], compression: Compression): Uint8Array {
  const target = new Uint8Array(FRAME_STORED_MAX).fill(0xee);
  return target.slice(0, encodeFrame(records, compression, target));
}

function sameRecord(frame: Frame, at: number, input: FrameInput): void {
  const record = frame.records[at]!;
  if (input.kind === 'plain') {
    assert.equal(record.parents.length, 0);
    const { bytes, skipBytes = 0, rawBytes = bytes.byteLength } = input;
    const expected = new Uint8Array(rawBytes);
    expected.set(bytes, skipBytes);
    assert(equalBytes(plainRecord(plainSection(frame), record), expected));
    return;
  }
  assert.equal(record.rawBytes, input.rawBytes);
  assert.deepEqual(record.parents.map(Buffer.from), input.parents.map(Buffer.from));
  const found = frame.bytes.subarray(record.at, record.at + record.storedBytes);
  assert(equalBytes(found, input.patch));
}

test('a frame comes back as it was made, under every compression', () =>
  fc.assert(
    fc.property(inputs, fc.constantFrom(...compressions), (records, compression) => {
      const frame = parseFrame(frameOf(records, compression));
      assert.equal(frame.records.length, records.length);
      for (const [at, input] of records.entries()) sameRecord(frame, at, input);
    }),
  ));

test('the largest frame, and one of the most records, come back', () => {
  const large = new Uint8Array(FRAME_RAW_MAX).fill(7);
  const whole = parseFrame(frameOf([{ kind: 'plain', bytes: large }], zstd));
  assert(equalBytes(plainSection(whole), large));
  const many = Array.from({ length: FRAME_RECORDS_MAX }, (_, at): FrameInput => {
    return { kind: 'plain', bytes: new Uint8Array(at % 7).fill(at) };
  });
  const frame = parseFrame(frameOf(many, zstd));
  for (const [at, input] of many.entries()) sameRecord(frame, at, input);
});

function someFrame(): Uint8Array {
  const bytes = Buffer.from('words that repeat, words that repeat, words that repeat');
  const parents = [new Uint8Array(PARENT_REFERENCE_BYTES).fill(3)];
  return frameOf(
    [
      { kind: 'plain', bytes },
      { kind: 'patch', rawBytes: 4096, patch: new Uint8Array(9).fill(5), parents },
      { kind: 'plain', bytes: bytes.subarray(5) },
    ],
    zstd,
  );
}

test('every single flipped bit of a frame is refused', () => {
  const frame = someFrame();
  for (let bit = 0; bit < frame.byteLength * 8; bit++) {
    const hurt = new Uint8Array(frame);
    hurt[bit >> 3] = hurt[bit >> 3]! ^ (1 << (bit & 7));
    assert.throws(() => parseFrame(hurt), { code: 'CODEC_DAMAGED' }, `bit ${bit}`);
  }
});

test('the checksum of a whole frame follows from its own one, and from no other', () => {
  const frame = someFrame();
  assert.equal(checksumOfFrame(frame), crc32(frame));
  for (const at of [0, 4, 8, frame.byteLength - 1]) {
    const hurt = new Uint8Array(frame);
    hurt[at] = hurt[at]! ^ 1;
    if (at >= 4) assert.notEqual(checksumOfFrame(hurt), crc32(hurt), `byte ${at}`);
  }
});

test('every truncation of a frame, and every byte added to it, is refused', () => {
  const frame = someFrame();
  for (let length = 0; length < frame.byteLength; length++) {
    assert.throws(() => parseFrame(frame.subarray(0, length)), { code: 'CODEC_DAMAGED' });
  }
  const longer = new Uint8Array(frame.byteLength + 1);
  longer.set(frame);
  assert.throws(() => parseFrame(longer), { code: 'CODEC_DAMAGED' });
});

/** A frame whose checksum and length are right, whatever it says. */
function sealed(body: Uint8Array): Uint8Array {
  const writer = new ByteWriter();
  writer.u32(0x4d415246);
  writer.u32(0);
  writer.u32(12 + body.byteLength);
  writer.put(body);
  const bytes = new Uint8Array(writer.view());
  new DataView(bytes.buffer).setUint32(4, crc32(bytes.subarray(8)), true);
  return bytes;
}

function parsesOrRefuses(bytes: Uint8Array): void {
  try {
    const frame = parseFrame(bytes);
    let plainBytes = 0;
    for (const { parents, at, storedBytes } of frame.records) {
      if (parents.length === 0) plainBytes += storedBytes;
      else assert(at + storedBytes <= bytes.byteLength);
    }
    const section = plainSection(frame);
    assert.equal(section.byteLength, plainBytes);
    let unfoldedBytes = 0;
    for (const record of frame.records) {
      if (record.parents.length > 0) continue;
      assert.equal(plainRecord(section, record).byteLength, record.rawBytes);
      unfoldedBytes += record.rawBytes;
    }
    assert(unfoldedBytes <= FRAME_UNFOLDED_MAX);
  } catch (error) {
    assert(error instanceof CodecError && error.code === 'CODEC_DAMAGED', String(error));
  }
}

test('arbitrary bytes, also behind a right checksum, parse or are refused', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      parsesOrRefuses(bytes);
      parsesOrRefuses(sealed(bytes));
    }),
    { numRuns: 1000 },
  );
  // Small numbers get further into the parser than noise does.
  fc.assert(
    fc.property(fc.array(fc.nat(9), { maxLength: 60 }), (numbers) =>
      parsesOrRefuses(sealed(Uint8Array.from([1, 0, ...numbers]))),
    ),
    { numRuns: 3000 },
  );
});

test('changed bytes of a real frame behind a right checksum parse or are refused', () => {
  const body = someFrame().subarray(12);
  fc.assert(
    fc.property(fc.nat(body.byteLength - 1), fc.nat(255), (at, value) => {
      const hurt = new Uint8Array(body);
      hurt[at] = value;
      parsesOrRefuses(sealed(hurt));
    }),
    { numRuns: 2000 },
  );
});

test('one past each limit is refused', () => {
  const refused = (fill: (writer: ByteWriter) => void, message: RegExp) => {
    const writer = new ByteWriter();
    writer.u8(1);
    writer.u8(0);
    fill(writer);
    assert.throws(() => parseFrame(sealed(writer.view())), { code: 'CODEC_DAMAGED', message });
  };
  refused((writer) => {
    writer.varint(FRAME_RECORDS_MAX + 1);
  }, /number of records/);
  refused((writer) => {
    writer.varint(0);
    writer.varint(FRAME_RAW_MAX + 1);
  }, /plain section/);
  refused((writer) => {
    for (const value of [0, 0, FRAME_RAW_MAX + 1]) writer.varint(value);
  }, /stored plain section/);
  const nine = [1, 0, 0, 1, 4, 0, 9];
  assert.throws(() => parseFrame(sealed(Uint8Array.from([1, 0, ...nine]))), /9 parents/);
  const none = [1, 0, 0, 1, 4, 0, 0];
  assert.throws(() => parseFrame(sealed(Uint8Array.from([1, 0, ...none]))), /0 parents/);
  assert.throws(() => parseFrame(sealed(Uint8Array.from([2, 0, 0, 0, 0]))), /version 2/);
});

test('a frame that would unfold to more than the bound is refused', () => {
  const record: FrameInput = {
    kind: 'plain',
    bytes: Uint8Array.of(1),
    skipBytes: 0,
    rawBytes: FRAME_RAW_MAX,
  };
  const count = FRAME_UNFOLDED_MAX / FRAME_RAW_MAX;
  const most = Array.from({ length: count }, () => record);
  assert.equal(parseFrame(frameOf(most, zstd)).records.length, count);
  assert.throws(() => parseFrame(frameOf([...most, record], zstd)), /unfolds to too much/);
});

test('a frame in hexadecimal, so that the format cannot change unseen', () => {
  const parents = [Uint8Array.from({ length: PARENT_REFERENCE_BYTES }, (_, at) => at + 1)];
  const frame = frameOf(
    [
      { kind: 'plain', bytes: Buffer.from('abc') },
      { kind: 'plain', bytes: Buffer.from('def') },
      { kind: 'patch', rawBytes: 300, patch: Uint8Array.of(0xaa, 0xbb), parents },
    ],
    { algorithm: 'raw' },
  );
  assert.equal(Buffer.from(frame).toString('hex'), GOLDEN);
  assert.equal(parseFrame(Buffer.from(GOLDEN, 'hex')).records.length, 3);
});

const GOLDEN =
  '4652414dd45e56db2d000000010003060600038001ac0202010102030405060708090a0b0c616263' + '646566aabb';
