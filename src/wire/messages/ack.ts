/** ACK: which numbered messages are done with, and how much more each lane may send. */
import { ByteReader, ByteWriter } from '../../core/index.ts';
import { decoding } from '../errors.ts';
import { LANES_MAX } from '../limits.ts';
import { getExtensions, putExtensions } from './extensions.ts';
import { getReceived, putReceived, type Received } from './ranges.ts';

/** `limitBytes` counts all that the lane ever carried; it never falls. */
export type Credit = { readonly laneId: number; readonly limitBytes: number };

export type Ack = { readonly received: Received; readonly credits: readonly Credit[] };

export function encodeAck({ received, credits }: Ack): Uint8Array {
  const writer = new ByteWriter(64);
  putReceived(writer, received);
  writer.varint(credits.length);
  for (const { laneId, limitBytes } of credits) {
    writer.varint(laneId);
    writer.varint(limitBytes);
  }
  putExtensions(writer);
  return writer.view();
}

export function decodeAck(body: Uint8Array): Ack {
  return decoding('ACK', () => {
    const reader = new ByteReader(body);
    const received = getReceived(reader);
    const count = reader.count(LANES_MAX, 'the number of credits');
    const credits: Credit[] = [];
    for (let at = 0; at < count; at += 1) {
      credits.push({ laneId: reader.varint(), limitBytes: reader.varint() });
    }
    getExtensions(reader, 'ACK');
    reader.end();
    return { received, credits };
  });
}
