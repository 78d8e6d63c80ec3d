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
  /** By which lanes this side sends, and why: for people. */
  readonly lanes?: string | undefined;
};

/** May be skipped. */
const TAG_LANES = 1;
const known = new Set([TAG_LANES]);

/** Longer ones are cut off. */
const LANES_CHARACTERS_MAX = 200;

export function encodeHeartbeat(heartbeat: Heartbeat): Uint8Array {
  const writer = new ByteWriter(48);
  writer.varint(heartbeat.timeUs);
  writer.varint(heartbeat.echoUs);
  writer.varint(heartbeat.heldUs);
  writer.varint(heartbeat.backlogBytes);
  const { lanes } = heartbeat;
  const bytes = new TextEncoder().encode(lanes?.slice(0, LANES_CHARACTERS_MAX));
  putExtensions(writer, lanes === undefined ? [] : [{ tag: TAG_LANES, bytes }]);
  return writer.view();
}

export function decodeHeartbeat(body: Uint8Array): Heartbeat {
  return decoding('HEARTBEAT', () => {
    const reader = new ByteReader(body);
    const timeUs = reader.varint();
    const echoUs = reader.varint();
    const heldUs = reader.varint();
    const backlogBytes = reader.varint();
    const [found] = getExtensions(reader, 'HEARTBEAT', known);
    reader.end();
    const lanes = found && { lanes: forPeople(new TextDecoder().decode(found.bytes)) };
    return { timeUs, echoUs, heldUs, backlogBytes, ...lanes };
  });
}

/** A peer's text ends up in a terminal: nothing in it may steer that. */
function forPeople(text: string): string {
  return text.slice(0, LANES_CHARACTERS_MAX).replace(/\p{C}/gu, '?');
}
