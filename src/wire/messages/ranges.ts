/** Which numbered messages a side has: all up to one, and a bitmap of later ones. */
import { type ByteReader, type ByteWriter, FormatError } from '../../core/index.ts';
import { UNACKNOWLEDGED_MAX } from '../limits.ts';

/** Bit i of `later` (bit i % 8 of byte i / 8) is number `cumulative + 2 + i`; `+ 1` is missing. */
export type Received = { readonly cumulative: number; readonly later: Uint8Array };

const LATER_BYTES_MAX = UNACKNOWLEDGED_MAX / 8;

export const nothingReceived: Received = { cumulative: 0, later: new Uint8Array(0) };

export function putReceived(writer: ByteWriter, { cumulative, later }: Received): void {
  writer.varint(cumulative);
  writer.varint(later.byteLength);
  writer.put(later);
}

export function getReceived(reader: ByteReader): Received {
  const cumulative = reader.varint();
  const later = reader.take(reader.count(LATER_BYTES_MAX, 'a bitmap of messages'));
  if (later.byteLength > 0 && later.at(-1) === 0) throw new FormatError('a bitmap ends in zeroes');
  return { cumulative, later };
}

/** Calls `each` for every number above `cumulative` that is set. */
export function forEachLater({ cumulative, later }: Received, each: (n: number) => void): void {
  for (let at = 0; at < later.byteLength; at += 1) {
    for (let bits = later[at]!; bits !== 0; bits &= bits - 1) {
      each(cumulative + 2 + 8 * at + (31 - Math.clz32(bits & -bits)));
    }
  }
}

/** The highest number in it. */
export function lastOf(received: Received): number {
  let last = received.cumulative;
  forEachLater(received, (sequence) => {
    last = sequence;
  });
  return last;
}
