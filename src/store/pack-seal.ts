/** How a pack's frames and table are written and read; a plain pack here, sealed ones elsewhere. */
import {
  type Compression,
  encodeFrame,
  type Frame,
  type FramePlace,
  parseFrame,
  plainRecord,
  plainSection,
  type Signer,
  type Signing,
  signer,
} from '../codec/index.ts';
import { FormatError } from '../core/index.ts';
import { decodeTable, encodeTable, type PackTable } from './pack-table.ts';
import {
  type OrdinalOf,
  packTreeRecord,
  type TreeRecord,
  treeSignatures,
  unpackTreeRecord,
} from './tree-record.ts';

/** A frame as it is stored. */
export type StoredFrame = {
  readonly bytes: Uint8Array;
  /** The plain length of its one record. */
  readonly rawBytes: number;
  /** SHA-256 of `bytes`, where the table keeps it. */
  readonly hash?: Uint8Array | undefined;
};

export interface PackSeal {
  /** What seals and opens a frame, for threads; undefined if frames are plain. */
  place(frame: number): FramePlace | undefined;
  readonly signing: Signing | undefined;
  /** What a chunk is compared with. */
  readonly signer: Signer;
  /** A frame of chunks; CODEC_DAMAGED. */
  parseFrame(bytes: Uint8Array, frame: number): Frame;
  /** The plain bytes of a frame of chunks; CODEC_DAMAGED. */
  openFrame(bytes: Uint8Array, frame: number): Uint8Array;
  /** The stored bytes of a frame of chunks, from its plain ones. Once for each frame number. */
  sealFrame(plain: Uint8Array, frame: number): Pick<StoredFrame, 'bytes' | 'hash'>;
  /** A frame with this one tree record, for frame number `frame`. */
  encodeTree(
    record: TreeRecord,
    ordinalOf: OrdinalOf,
    compression: Compression,
    frame: number,
  ): StoredFrame;
  /** Undoes `encodeTree`; FormatError, CodecError. Not yet compared with its signatures. */
  decodeTree(bytes: Uint8Array, frame: number, table: PackTable): TreeRecord;
  isGenuineTree(record: TreeRecord, id: Uint8Array, checksum: number): boolean;
  encodeTable(table: PackTable, dataBytes: number): { stored: Uint8Array; rawBytes: number };
  /** FormatError, CodecError. */
  decodeTable(stored: Uint8Array, rawBytes: number, dataBytes: number): PackTable;
}

/** What a frame of one record is longer than the record, at most. */
export const FRAME_OVERHEAD_BYTES = 64;

/** A pack of a repository that is not encrypted. */
export const plainPack: PackSeal = {
  place: () => undefined,
  signing: undefined,
  signer: signer(undefined),
  parseFrame: (bytes) => parseFrame(bytes),
  openFrame: (bytes) => bytes,
  sealFrame: (bytes) => ({ bytes }),
  encodeTree(record, ordinalOf, compression) {
    const stored = packTreeRecord(record, ordinalOf);
    const target = new Uint8Array(stored.byteLength + FRAME_OVERHEAD_BYTES);
    const end = encodeFrame([{ kind: 'plain', bytes: stored }], compression, target);
    return { bytes: target.subarray(0, end), rawBytes: stored.byteLength };
  },
  decodeTree: (bytes, _frame, table) => unpackTreeRecord(onlyRecord(bytes), table),
  isGenuineTree: (record, id, checksum) => hasTreeSignatures(record, undefined, id, checksum),
  encodeTable: (table) => encodeTable(table),
  decodeTable: (stored, rawBytes, dataBytes) => decodeTable(stored, rawBytes, dataBytes, plainPack),
};

/** The frame's one record; FormatError if it has more, or a patch. */
export function onlyRecord(frameBytes: Uint8Array): Uint8Array {
  const frame = parseFrame(frameBytes);
  const [record] = frame.records;
  if (record === undefined || frame.records.length > 1 || record.parents.length > 0) {
    throw new FormatError('a frame does not hold the tree record that the table names');
  }
  return plainRecord(plainSection(frame), record);
}

export function hasTreeSignatures(
  record: TreeRecord,
  signing: Signing | undefined,
  id: Uint8Array,
  checksum: number,
): boolean {
  const found = treeSignatures(record, signing);
  return found.checksum === checksum && Buffer.compare(found.id, id) === 0;
}
