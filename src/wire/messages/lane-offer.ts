/** LANE_OFFER: the listening side lets the other one open a further lane, once, with this token. */
import { ByteReader, ByteWriter, FormatError } from '../../core/index.ts';
import { decoding } from '../errors.ts';
import { getExtensions, putExtensions } from './extensions.ts';

export const LANE_TOKEN_BYTES = 32;
export const LANE_STREAM = 1;
export const LANE_UDP = 2;

export type LaneOffer = {
  readonly laneId: number;
  /** LANE_STREAM: a connection to where the control lane leads. LANE_UDP: datagrams to `port`. */
  readonly kind: number;
  readonly token: Uint8Array;
  /** 0 for a stream. */
  readonly port: number;
};

export function encodeLaneOffer({ laneId, kind, token, port }: LaneOffer): Uint8Array {
  const writer = new ByteWriter(64);
  writer.varint(laneId);
  writer.u8(kind);
  writer.put(token);
  writer.u16(port);
  putExtensions(writer);
  return writer.view();
}

export function decodeLaneOffer(body: Uint8Array): LaneOffer {
  return decoding('LANE_OFFER', () => {
    const reader = new ByteReader(body);
    const laneId = reader.varint();
    const kind = reader.u8();
    if (kind !== LANE_STREAM && kind !== LANE_UDP) throw new FormatError(`a lane of kind ${kind}`);
    const token = reader.take(LANE_TOKEN_BYTES).slice();
    const port = reader.u16();
    getExtensions(reader, 'LANE_OFFER');
    reader.end();
    return { laneId, kind, token, port };
  });
}
