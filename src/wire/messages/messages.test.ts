/** Goal: every message keeps its bytes, survives its cuts, and refuses what is not in it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ByteWriter, hasCode, toHex } from '../../core/index.ts';
import { WireError } from '../errors.ts';
import { examples } from './examples.fixture.ts';
import { putExtensions } from './extensions.ts';
import * as m from './index.ts';

/** Changing one of these lines changes the protocol: docs/protocol.md, and its version. */
const golden: Readonly<Record<string, string>> = {
  HELLO:
    '46525259010003000102030405060708090a0b0c0d0e0f10ac0202058028808080018080800210882702037564' +
    '70047a73746401047a737464228120404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d' +
    '5e5f',
  HEARTBEAT: 'c0843dd8fc3c118080808080200d010b7564703a2039204d422f73',
  ACK: 'ac0202058002008080808020030500',
  ERROR: '0e53544f52455f4e4f5f535041434510746865206469736b2069732066756c6c018101040102ac02',
  GOODBYE: '06757064617465b0ea0100',
  LANE_OFFER: '0202202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f5f1b00',
  LANE_JOIN:
    '0102030405060708090a0b0c0d0e0f1002202122232425262728292a2b2c2d2e2f303132333435363738393a3b' +
    '3c3d3e3f00',
  LANE_CLOSE: 'ac0200',
  METADATA: '020900038103026462820b8080808080208020808004830480208040',
  BLOCK_DATA:
    '020904000505808004a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf43a0a1a2' +
    'a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf118080f8ffff3f80808080042c802080' +
    '0403c8a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf16801c8020a0a1a2a3a4' +
    'a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf0280800880808080408140808004f0f1f2f3' +
    'f4',
  BLOCK_REFERENCE:
    '0209000002808004808004a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf8080' +
    'f8ff1f8020a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf',
  OFFER: '05020001a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf',
  NEED: '05000b8104',
  READ: '0402008080808080800880200000',
  EPOCH_CUT: '020908070080d095ffbc31c0c40706010461623a37',
  EPOCH_COMMIT: '0209039003a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf00',
  AUTHORITY_PREPARE: '0207e807a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf00',
  AUTHORITY_COMMIT: '0207e807a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf00',
  AUTHORITY_ABORT: '02071274686520646967657374732064696666657200',
};

test('each message is encoded to its golden bytes, and decoded from them', () => {
  for (const { type, value, encode, decode } of examples) {
    const name = m.nameOfType(type);
    assert.equal(toHex(encode()), golden[name], name);
    const body = Uint8Array.from(Buffer.from(golden[name]!, 'hex'));
    assert.deepEqual(decode(body), value, name);
  }
  assert.deepEqual(Object.keys(golden).length, examples.length);
  for (let type = 0; type < 256; type += 1) {
    assert.equal(
      m.isKnownType(type),
      examples.some((one) => one.type === type),
      `type ${type} has no example`,
    );
  }
});

test('a message cut anywhere, or with a byte too many, is refused', () => {
  for (const { type, encode, decode } of examples) {
    const body = encode();
    // The frame of BLOCK_DATA runs to the end, whatever its length: it has a checksum of its own.
    const end = type === m.BLOCK_DATA ? body.byteLength - 5 : body.byteLength;
    for (let cut = 0; cut < end; cut += 1) {
      assert.throws(() => decode(body.slice(0, cut)), WireError, `${m.nameOfType(type)} at ${cut}`);
    }
    if (type === m.BLOCK_DATA) continue;
    const longer = Uint8Array.of(...body, 0);
    assert.throws(() => decode(longer), WireError, m.nameOfType(type));
  }
});

test('changed bytes decode to something else, or are refused, and do nothing worse', () => {
  const change = fc.record({ which: fc.nat(examples.length - 1), at: fc.nat(), byte: fc.nat(255) });
  fc.assert(
    fc.property(fc.array(change, { minLength: 1, maxLength: 4 }), (changes) => {
      const { encode, decode } = examples[changes[0]!.which]!;
      const body = encode().slice();
      for (const { at, byte } of changes) body[at % body.byteLength] = byte;
      try {
        decode(body);
      } catch (error) {
        if (!(error instanceof WireError)) throw error;
      }
    }),
    { numRuns: 2_000 },
  );
});

test('an unknown extension is skipped by its length, a mandatory one refused', () => {
  const body = (tag: number) => Uint8Array.of(0, 0, 0, 0, 4, tag, 2, 7, 7);
  const heartbeat = { timeUs: 0, echoUs: 0, heldUs: 0, backlogBytes: 0 };
  assert.deepEqual(m.decodeHeartbeat(body(0x05)), heartbeat);
  assert.throws(
    () => m.decodeHeartbeat(body(0x85)),
    (error) => hasCode(error, 'WIRE_UNSUPPORTED'),
  );
  assert.throws(
    () => m.decodeHeartbeat(Uint8Array.of(0, 0, 0, 0, 4, 5, 3, 7, 7)),
    (error) => hasCode(error, 'WIRE_FORMAT'),
  );
});

test('what a heartbeat says to people is short, and steers no terminal', () => {
  const text = new TextEncoder().encode(`\u{1b}[2J${'x'.repeat(1_000)}`);
  const writer = new ByteWriter(16);
  for (let count = 0; count < 4; count += 1) writer.varint(0);
  putExtensions(writer, [{ tag: 1, bytes: text }]);
  const { lanes } = m.decodeHeartbeat(writer.view());
  assert.equal(lanes, `?[2J${'x'.repeat(196)}`);
});

test('an unknown fact is left out, a mandatory one refused', () => {
  const { facts } = m.decodeMetadata(Uint8Array.of(1, 2, 0, 2, 0x66, 1, 9, 4, 1, 8));
  assert.deepEqual(facts, [{ tag: m.FACT_CLASSES, bytes: Uint8Array.of(8) }]);
  assert.throws(
    () => m.decodeMetadata(Uint8Array.of(1, 2, 0, 1, 0xe6, 1, 9)),
    (error) => hasCode(error, 'WIRE_UNSUPPORTED'),
  );
});

test('a version that nobody here speaks is told before the rest is read', () => {
  const body = m.encodeHello({
    ...(examples[0]!.value as m.Hello),
    ...{ versionMin: 7, versionMax: 9 },
  });
  const seen: number[][] = [];
  assert.throws(() =>
    m.decodeHello(body.slice(0, 8), (...versions) => {
      seen.push(versions);
      throw new Error('no');
    }),
  );
  assert.deepEqual(seen, [[7, 9]]);
});

test('facts of a volume come back as they were told', () => {
  const geometry = { sizeBytes: 2 ** 52, blockBytes: 4096, chunkBytes: 65_536 };
  assert.deepEqual(m.geometryOf(m.geometryFact(geometry)), geometry);
  assert.equal(m.nameOf(m.nameFact('größe')), 'größe');
  const runs = fc.array(fc.tuple(fc.nat(2 ** 30), fc.integer({ min: 1, max: 2 ** 30 })));
  fc.assert(
    fc.property(runs, (steps) => {
      let end = 0;
      const list = steps.map(([gap, lengthBytes]) => {
        const offsetBytes = end + gap;
        end = offsetBytes + lengthBytes;
        return { offsetBytes, lengthBytes };
      });
      assert.deepEqual(m.changesOf(m.changesFact(list)), list);
    }),
  );
});

test('entries in any order and of any kind come back', () => {
  const place = fc.record({
    offsetBytes: fc.nat({ max: Number.MAX_SAFE_INTEGER - 65_536 }),
    lengthBytes: fc.integer({ min: 1, max: 65_536 }),
    isNew: fc.boolean(),
  });
  const entry = fc.record({
    kind: fc.integer({ min: 0, max: 6 }),
    offsetBytes: fc.oneof(fc.nat(2 ** 20), fc.nat({ max: Number.MAX_SAFE_INTEGER - 2 ** 32 })),
    lengthBytes: fc.oneof(fc.constantFrom(4096, 65_536), fc.integer({ min: 1, max: 2 ** 31 })),
    blockClass: fc.nat(255),
    importance: fc.nat(255),
    places: fc.array(place, { minLength: 1, maxLength: 8 }),
  });
  fc.assert(
    fc.property(fc.array(entry, { maxLength: 50 }), (list) => {
      const entries = list.map(({ places, ...one }) => ({
        ...one,
        ...(one.kind === m.KIND_PLACED_PATCH && { places: places.map((each) => ({ ...each })) }),
        hash: one.kind >= m.KIND_REFERENCE ? new Uint8Array(32).fill(one.kind) : undefined,
      }));
      const data = { volume: 1, epoch: 2, request: 3, entries, frame: new Uint8Array(0) };
      const body = Uint8Array.from(Buffer.concat(m.encodeBlockData(data)));
      assert.deepEqual(m.decodeBlockData(body), data);
    }),
  );
});

test('a patch of no places, of too many, or of one that is empty or too long, is refused', () => {
  const place = { offsetBytes: 0, lengthBytes: 65_536, isNew: false };
  for (const places of [
    [],
    Array.from({ length: 9 }, () => place),
    [{ ...place, lengthBytes: 0 }],
    [place, { ...place, lengthBytes: 65_537 }],
    [{ ...place, offsetBytes: Number.MAX_SAFE_INTEGER }],
  ]) {
    const entry = { ...{ kind: m.KIND_PLACED_PATCH, offsetBytes: 0, lengthBytes: 4096 } };
    const rest = { hash: new Uint8Array(32), blockClass: 0, importance: 0, places };
    const entries = [{ ...entry, ...rest }];
    const data = { volume: 1, epoch: 2, request: 3, entries, frame: new Uint8Array(0) };
    const body = Uint8Array.from(Buffer.concat(m.encodeBlockData(data)));
    assert.throws(() => m.decodeBlockData(body), WireError);
  }
});
