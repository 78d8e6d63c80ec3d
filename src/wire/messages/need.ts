/** NEED: which hashes of an OFFER are wanted; a bit each, in the order of the offer. */
import { ByteReader, ByteWriter, FormatError } from '../../core/index.ts';
import { decoding, limitError } from '../errors.ts';
import { REFERENCES_MAX } from '../limits.ts';
import { getExtensions, putExtensions } from './extensions.ts';

export type Need = {
  readonly offer: number;
  /** How many hashes the offer had. */
  readonly count: number;
  /** Bit i % 8 of byte i / 8 says that hash i is wanted; bits behind the last one are 0. */
  readonly wanted: Uint8Array;
};

export function encodeNeed({ offer, count, wanted }: Need): Uint8Array {
  if (count > REFERENCES_MAX || wanted.byteLength !== Math.ceil(count / 8)) {
    throw limitError(`${wanted.byteLength} bytes for ${count} bits`);
  }
  const writer = new ByteWriter(32 + wanted.byteLength);
  writer.varint(offer);
  putExtensions(writer);
  writer.varint(count);
  writer.put(wanted);
  return writer.view();
}

/** The bits are a view of `body`. */
export function decodeNeed(body: Uint8Array): Need {
  return decoding('NEED', () => {
    const reader = new ByteReader(body);
    const offer = reader.varint();
    getExtensions(reader, 'NEED');
    const count = reader.count(REFERENCES_MAX, 'the number of bits');
    const wanted = reader.take(Math.ceil(count / 8));
    reader.end();
    if (count % 8 !== 0 && wanted.at(-1)! >> (count % 8) !== 0) {
      throw new FormatError('bits are set behind the last one');
    }
    return { offer, count, wanted };
  });
}
