/** OFFER: hashes of chunks that could be sent; NEED answers which of them are wanted. */
import { ByteReader, ByteWriter, SHA256_BYTES } from '../../core/index.ts';
import { decoding, limitError } from '../errors.ts';
import { REFERENCES_MAX } from '../limits.ts';
import { getExtensions, putExtensions } from './extensions.ts';

export type Offer = {
  /** Chosen by the sender; the NEED repeats it. */
  readonly offer: number;
  readonly volume: number;
  /** SHA-256 after SHA-256. */
  readonly hashes: Uint8Array;
};

export function encodeOffer({ offer, volume, hashes }: Offer): Uint8Array {
  const count = hashes.byteLength / SHA256_BYTES;
  if (!Number.isInteger(count) || count > REFERENCES_MAX) throw limitError(`${count} hashes`);
  const writer = new ByteWriter(32 + hashes.byteLength);
  writer.varint(offer);
  writer.varint(volume);
  putExtensions(writer);
  writer.varint(count);
  writer.put(hashes);
  return writer.view();
}

/** The hashes are a view of `body`. */
export function decodeOffer(body: Uint8Array): Offer {
  return decoding('OFFER', () => {
    const reader = new ByteReader(body);
    const offer = reader.varint();
    const volume = reader.varint();
    getExtensions(reader, 'OFFER');
    const count = reader.count(REFERENCES_MAX, 'the number of hashes');
    const hashes = reader.take(count * SHA256_BYTES);
    reader.end();
    return { offer, volume, hashes };
  });
}
