/** EPOCH_CUT: a new epoch begins to travel; its content is that of the moment of its cut. */
import { ByteReader, ByteWriter } from '../../core/index.ts';
import { decoding } from '../errors.ts';
import { getExtensions, putExtensions } from './extensions.ts';

export type EpochCut = {
  readonly volume: number;
  readonly epoch: number;
  /** The epoch that it is told against. */
  readonly base: number;
  /** Of the side that writes; a side that knows a higher one refuses. */
  readonly authority: number;
  /** Volumes cut at one moment share a number; 0 for a volume on its own. */
  readonly group: number;
  /** The wall clock at the cut, for people and for showing the lag; nothing rests on it. */
  readonly wallMs: number;
  readonly changedBytes: number;
};

export function encodeEpochCut(cut: EpochCut): Uint8Array {
  const writer = new ByteWriter(64);
  writer.varint(cut.volume);
  writer.varint(cut.epoch);
  writer.varint(cut.base);
  writer.varint(cut.authority);
  writer.varint(cut.group);
  writer.varint(cut.wallMs);
  writer.varint(cut.changedBytes);
  putExtensions(writer);
  return writer.view();
}

export function decodeEpochCut(body: Uint8Array): EpochCut {
  return decoding('EPOCH_CUT', () => {
    const reader = new ByteReader(body);
    const cut = {
      volume: reader.varint(),
      epoch: reader.varint(),
      base: reader.varint(),
      authority: reader.varint(),
      group: reader.varint(),
      wallMs: reader.varint(),
      changedBytes: reader.varint(),
    };
    getExtensions(reader, 'EPOCH_CUT');
    reader.end();
    return cut;
  });
}
