/** EPOCH_CUT: a new epoch begins to travel; its content is that of the moment of its cut. */
import assert from 'node:assert/strict';
import { ByteReader, ByteWriter, FormatError } from '../../core/index.ts';
import { decoding } from '../errors.ts';
import { getExtensions, putExtensions } from './extensions.ts';

/** May be skipped: an agent whose mark was forgotten compares more than it had to. */
const TAG_MARK = 1;
export const MARK_BYTES_MAX = 128;

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
  /** The agent's own name for this cut; the provider tells it to whoever opens the volume. */
  readonly mark?: string | undefined;
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
  const mark = cut.mark === undefined ? undefined : new TextEncoder().encode(cut.mark);
  assert(mark === undefined || mark.byteLength <= MARK_BYTES_MAX);
  putExtensions(writer, mark && [{ tag: TAG_MARK, bytes: mark }]);
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
    const [extension] = getExtensions(reader, 'EPOCH_CUT', new Set([TAG_MARK]));
    reader.end();
    return extension === undefined ? cut : { ...cut, mark: markOf(extension.bytes) };
  });
}

function markOf(bytes: Uint8Array): string {
  if (bytes.byteLength > MARK_BYTES_MAX) throw new FormatError('a mark is too long');
  return new TextDecoder().decode(bytes);
}
