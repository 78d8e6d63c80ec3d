/** BLOCK_REFERENCE: chunks that the receiver already has, named by their hash and put in place. */
import { ByteReader, ByteWriter, FormatError, SHA256_BYTES } from '../../core/index.ts';
import { decoding, limitError } from '../errors.ts';
import { REFERENCES_MAX } from '../limits.ts';
import { getExtensions, putExtensions } from './extensions.ts';

export type Reference = {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly hash: Uint8Array;
};

export type BlockReference = {
  readonly volume: number;
  readonly epoch: number;
  /** The READ that this answers; 0 if nobody asked. */
  readonly request: number;
  /** Ascending, without overlap. */
  readonly references: readonly Reference[];
};

export function encodeBlockReference(message: BlockReference): Uint8Array {
  const { references } = message;
  if (references.length > REFERENCES_MAX) throw limitError(`${references.length} references`);
  const writer = new ByteWriter(32 + 40 * references.length);
  writer.varint(message.volume);
  writer.varint(message.epoch);
  writer.varint(message.request);
  putExtensions(writer);
  writer.varint(references.length);
  let end = 0;
  for (const { offsetBytes, lengthBytes, hash } of references) {
    writer.varint(offsetBytes - end);
    writer.varint(lengthBytes);
    writer.put(hash);
    end = offsetBytes + lengthBytes;
  }
  return writer.view();
}

/** Hashes are views of `body`. */
export function decodeBlockReference(body: Uint8Array): BlockReference {
  return decoding('BLOCK_REFERENCE', () => {
    const reader = new ByteReader(body);
    const volume = reader.varint();
    const epoch = reader.varint();
    const request = reader.varint();
    getExtensions(reader, 'BLOCK_REFERENCE');
    const count = reader.count(REFERENCES_MAX, 'the number of references');
    const references: Reference[] = [];
    let end = 0;
    for (let at = 0; at < count; at += 1) {
      const offsetBytes = end + reader.varint();
      const lengthBytes = reader.varint();
      if (lengthBytes === 0) throw new FormatError('a reference without a length');
      end = offsetBytes + lengthBytes;
      if (!Number.isSafeInteger(end)) throw new FormatError('a reference ends beyond 2^53');
      references.push({ offsetBytes, lengthBytes, hash: reader.take(SHA256_BYTES) });
    }
    reader.end();
    return { volume, epoch, request, references };
  });
}
