/** The lowest layer of the reader made from docs/format.md: numbers, envelopes, the digest. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { crc32, zstdDecompressSync } from 'node:zlib';

export const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest();
export const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

/** Takes numbers and bytes from a buffer, in order. */
export class Cursor {
  at = 0;
  readonly bytes: Buffer;
  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }
  get left(): number {
    return this.bytes.length - this.at;
  }
  take(length: number): Buffer {
    assert(length <= this.left, 'the bytes end too soon');
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }
  u8(): number {
    return this.take(1)[0]!;
  }
  u32(): number {
    return this.take(4).readUInt32LE();
  }
  u64(): number {
    return Number(this.take(8).readBigUInt64LE());
  }
  varint(): number {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = this.u8();
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  }
}

export const MAGIC = 'BFRY';

/** Envelope: magic, kind, version, zero, length, payload, CRC-32. */
export function payload(object: Buffer, kind: number): Buffer {
  const cursor = new Cursor(object);
  assert.equal(cursor.take(4).toString(), MAGIC);
  const [found, version, ...zeroes] = [cursor.u8(), cursor.u8(), cursor.u8(), cursor.u8()];
  assert.deepEqual([found, ...zeroes], [kind, 0, 0]);
  // Log entries may be of version 2, checkpoints of 2 and 3.
  assert(version! >= 1 && version! <= (kind === 4 ? 3 : kind === 2 ? 2 : 1));
  const content = cursor.take(cursor.u64());
  const end = cursor.at;
  assert.equal(cursor.u32(), crc32(object.subarray(0, end)));
  assert.equal(cursor.left, 0);
  return content;
}

export function decompress(algorithm: number, stored: Buffer, rawBytes: number): Buffer {
  if (algorithm === 0) return stored;
  assert.equal(algorithm, 2, 'LZ4 is not among the modules of Node');
  const raw = zstdDecompressSync(stored);
  assert.equal(raw.length, rawBytes);
  return raw;
}

/** The volume digest of plain bytes. */
export function volumeDigest(volume: Buffer): string {
  const cut = (bytes: Buffer, length: number) =>
    Array.from({ length: Math.ceil(bytes.length / length) }, (_, at) =>
      bytes.subarray(at * length, (at + 1) * length),
    );
  const node = (level: number, below: Buffer[]) =>
    sha256(Buffer.concat([Buffer.from([level]), ...below]));
  let nodes = cut(volume, 2 ** 23).map((leaf) => node(0, cut(leaf, 65536).map(sha256)));
  if (nodes.length === 0) nodes = [node(0, [])];
  for (let level = 1; nodes.length > 1; level++) {
    nodes = Array.from({ length: Math.ceil(nodes.length / 256) }, (_, at) =>
      node(level, nodes.slice(at * 256, (at + 1) * 256)),
    );
  }
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(volume.length));
  return hex(sha256(Buffer.concat([Buffer.from('blockferry volume 1\n'), size, nodes[0]!])));
}
