/** Bodies that are compressed on the way: those of facts and lists, not of blocks. */
import { compress, decompress, type Parts } from '../codec/index.ts';
import { ByteReader, ByteWriter, messageOf } from '../core/index.ts';
import { decoding, formatError, limitError } from './errors.ts';
import { FLAG_COMPRESSED } from './header.ts';
import { BODY_BYTES_MAX } from './limits.ts';
import { BLOCK_REFERENCE, METADATA, NEED } from './messages/index.ts';

/** Below it compressing saves less than it costs. */
const PACKED_BYTES_MIN = 256;

const packedTypes = new Set([METADATA, BLOCK_REFERENCE, NEED]);

/** Undefined if it is not worth it. */
function packed(type: number, body: Uint8Array): Uint8Array | undefined {
  if (!packedTypes.has(type) || body.byteLength < PACKED_BYTES_MIN) return undefined;
  const { algorithm, stored } = compress(body, { algorithm: 'zstd', level: 1 });
  if (stored.byteLength > body.byteLength - body.byteLength / 8) return undefined;
  const writer = new ByteWriter(16 + stored.byteLength);
  writer.u8(algorithm);
  writer.varint(body.byteLength);
  writer.put(stored);
  return writer.view();
}

/** A body as it is sent: compressed where that pays, and never too long. */
export function preparedBody(type: number, { parts, lastChecksum }: Parts, flags: number) {
  const small = parts.length === 1 ? packed(type, parts[0]!) : undefined;
  const body = small === undefined ? parts : [small];
  const bodyBytes = body.reduce((sum, part) => sum + part.byteLength, 0);
  if (bodyBytes > BODY_BYTES_MAX) throw limitError(`a body of ${bodyBytes} bytes`);
  if (small === undefined) return { parts, lastChecksum, bodyBytes, flags };
  return { parts: body, lastChecksum: undefined, bodyBytes, flags: flags | FLAG_COMPRESSED };
}

export function unpacked(body: Uint8Array): Uint8Array {
  return decoding('a compressed body', () => {
    const reader = new ByteReader(body);
    const algorithm = reader.u8();
    const rawBytes = reader.count(BODY_BYTES_MAX, 'the length of a compressed body');
    try {
      return decompress(algorithm, reader.take(reader.remaining), rawBytes);
    } catch (error) {
      throw formatError(`a compressed body does not unfold: ${messageOf(error)}`, error);
    }
  });
}
