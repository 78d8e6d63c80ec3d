/** Goal: what a journal keeps is looked at as closely, whether or not its checksum is known. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodeFrame } from '../../../codec/index.ts';
import { crc32, sha256 } from '../../../core/index.ts';
import {
  type BlockData,
  decodeBlockData,
  encodeBlockData,
  KIND_DATA,
} from '../../../wire/index.ts';
import { makingGate, prove } from './sections.ts';

const bytes = new Uint8Array(8192).map((_, at) => (at * at) % 251);

/** As it came in a message, with the frame changed by `harm` before it was sent. */
function received(harm: (frame: Uint8Array) => void = () => {}): BlockData {
  const target = new Uint8Array(10_000);
  const how = { algorithm: 'raw' } as const;
  const frame = target.subarray(0, encodeFrame([{ kind: 'plain', bytes }], how, target));
  harm(frame);
  const entry = { kind: KIND_DATA, offsetBytes: 0, lengthBytes: bytes.byteLength };
  const entries = [{ ...entry, hash: sha256(bytes), blockClass: 0, importance: 0 }];
  const head = { volume: 1, epoch: 1, request: 0 };
  const body = Uint8Array.from(Buffer.concat(encodeBlockData({ ...head, entries, frame })));
  return decodeBlockData(body, crc32(body));
}

const noParents = () => assert.fail('there are no patches');

test('the checksum of a frame that came follows from that of its message', async () => {
  const data = received();
  assert.equal(data.frameChecksum, crc32(data.frame));
  const { parts } = await prove(data, noParents, makingGate());
  assert.deepEqual(Buffer.concat(parts).subarray(-data.frame.byteLength), Buffer.from(data.frame));
});

test('a frame whose own checksum is wrong is refused, though its message is whole', async () => {
  for (const at of [4, 7]) {
    const data = received((frame) => {
      frame[at] = frame[at]! ^ 1;
    });
    assert.equal(data.frameChecksum, crc32(data.frame));
    await assert.rejects(prove(data, noParents, makingGate()), { code: 'REPLICATE_HASH' });
  }
});

test('a frame that ends before its own checksum is refused as one that does not parse', async () => {
  const { frame, ...data } = received();
  for (const length of [0, 3, 7, 8]) {
    const body = Buffer.concat(encodeBlockData({ ...data, frame: frame.subarray(0, length) }));
    const alone = Uint8Array.from(body);
    const short = decodeBlockData(alone, crc32(alone));
    await assert.rejects(prove(short, noParents, makingGate()), { code: 'REPLICATE_HASH' });
  }
});
