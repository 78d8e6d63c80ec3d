/** LANE_JOIN: the first message on a further connection, instead of HELLO, and its answer. */
import { ByteReader, ByteWriter } from '../../core/index.ts';
import { decoding } from '../errors.ts';
import { getExtensions, putExtensions } from './extensions.ts';
import { SESSION_TOKEN_BYTES } from './hello.ts';
import { LANE_TOKEN_BYTES } from './lane-offer.ts';

/** The answer is the same message with zeroes for the token. */
export type LaneJoin = {
  readonly sessionToken: Uint8Array;
  readonly laneId: number;
  readonly token: Uint8Array;
};

export function encodeLaneJoin({ sessionToken, laneId, token }: LaneJoin): Uint8Array {
  const writer = new ByteWriter(64);
  writer.put(sessionToken);
  writer.varint(laneId);
  writer.put(token);
  putExtensions(writer);
  return writer.view();
}

export function decodeLaneJoin(body: Uint8Array): LaneJoin {
  return decoding('LANE_JOIN', () => {
    const reader = new ByteReader(body);
    const sessionToken = reader.take(SESSION_TOKEN_BYTES).slice();
    const laneId = reader.varint();
    const token = reader.take(LANE_TOKEN_BYTES).slice();
    getExtensions(reader, 'LANE_JOIN');
    reader.end();
    return { sessionToken, laneId, token };
  });
}
