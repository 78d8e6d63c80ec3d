/** LANE_CLOSE: a lane is of no use to the sender any more; the host offers another in its place. */
import { ByteReader, ByteWriter } from '../../core/index.ts';
import { decoding } from '../errors.ts';
import { getExtensions, putExtensions } from './extensions.ts';

export type LaneClose = { readonly laneId: number };

export function encodeLaneClose({ laneId }: LaneClose): Uint8Array {
  const writer = new ByteWriter(16);
  writer.varint(laneId);
  putExtensions(writer);
  return writer.view();
}

export function decodeLaneClose(body: Uint8Array): LaneClose {
  return decoding('LANE_CLOSE', () => {
    const reader = new ByteReader(body);
    const laneId = reader.varint();
    getExtensions(reader, 'LANE_CLOSE');
    reader.end();
    return { laneId };
  });
}
