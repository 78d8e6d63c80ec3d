/** HEARTBEAT: "I am here"; measures the round trip, and says what this side has queued. */
import { ByteReader, ByteWriter } from '../../core/index.ts';
import { decoding } from '../errors.ts';
import { getExtensions, putExtensions } from './extensions.ts';

export type Heartbeat = {
  /** The sender's monotonic clock in microseconds; means nothing to the receiver but an echo. */
  readonly timeUs: number;
  /** The last `timeUs` that came from the receiver; 0 if none did. */
  readonly echoUs: number;
  /** How long ago that was, so that the receiver can take it off the round trip. */
  readonly heldUs: number;
  /** Bytes that wait to be sent: how far behind the receiver is. */
  readonly backlogBytes: number;
};

export function encodeHeartbeat(heartbeat: Heartbeat): Uint8Array {
  const writer = new ByteWriter(48);
  writer.varint(heartbeat.timeUs);
  writer.varint(heartbeat.echoUs);
  writer.varint(heartbeat.heldUs);
  writer.varint(heartbeat.backlogBytes);
  putExtensions(writer);
  return writer.view();
}

export function decodeHeartbeat(body: Uint8Array): Heartbeat {
  return decoding('HEARTBEAT', () => {
    const reader = new ByteReader(body);
    const timeUs = reader.varint();
    const echoUs = reader.varint();
    const heldUs = reader.varint();
    const backlogBytes = reader.varint();
    getExtensions(reader, 'HEARTBEAT');
    reader.end();
    return { timeUs, echoUs, heldUs, backlogBytes };
  });
}
