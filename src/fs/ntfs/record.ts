/** Records of $MFT: what a file is, in attributes. */
import { damaged } from '../errors.ts';
import { Fields } from '../fields.ts';
import { fixedUp } from './fixups.ts';
import { lsn64, type Reference, referenceAt, utf16 } from './numbers.ts';
import { type NtfsRun, runsOf } from './runs.ts';

/** Types of attributes. */
export const ATTRIBUTE = {
  list: 0x20,
  fileName: 0x30,
  volume: 0x70,
  data: 0x80,
  indexRoot: 0x90,
  indexBlocks: 0xa0,
  bitmap: 0xb0,
  end: 0xffffffff,
} as const;

const IN_USE = 1;
const HEADER_BYTES = 0x2a;
const COMPRESSED = 0xff;
const RESIDENT_BYTES = 0x18;
const ELSEWHERE_BYTES = 0x40;

export type NtfsAttribute = {
  readonly type: number;
  readonly name: string;
  readonly isCompressed: boolean;
  /** There if it lies in the record itself. */
  readonly value?: Fields;
  /** There if it lies in clusters; `dataBytes` and so on count in the piece that begins at 0. */
  readonly piece?: {
    readonly runs: readonly NtfsRun[];
    readonly firstVcn: number;
    readonly dataBytes: number;
    readonly initializedBytes: number;
  };
};

export type NtfsRecord = {
  readonly number: number;
  readonly sequence: number;
  /** Of the last change of it that was logged. */
  readonly lsn: bigint;
  readonly isInUse: boolean;
  /** The file that it is a further record of; undefined if it is a file's first one. */
  readonly base: Reference | undefined;
  readonly attributes: readonly NtfsAttribute[];
};

/** A record that was never written: $MFT grows by many at a time. */
export function isBlank(bytes: Uint8Array): boolean {
  return bytes[0] === 0 && bytes[1] === 0 && bytes[2] === 0 && bytes[3] === 0;
}

/** Its bytes are changed in place. What is not in use has no attributes. */
export function recordOf(
  bytes: Uint8Array,
  { number, clusterCount }: { readonly number: number; readonly clusterCount: number },
): NtfsRecord {
  const what = `record ${number} of $MFT`;
  const fields = fixedUp(bytes, 'FILE', what);
  const flags = fields.u16(0x16);
  const isInUse = (flags & IN_USE) !== 0;
  const base = referenceAt(fields, 0x20);
  return {
    number,
    sequence: fields.u16(0x10),
    lsn: lsn64(fields, 8),
    isInUse,
    base: base.record === 0 && base.sequence === 0 ? undefined : base,
    attributes: isInUse ? attributesOf(fields, clusterCount) : [],
  };
}

function attributesOf(record: Fields, clusterCount: number): NtfsAttribute[] {
  const usedBytes = record.u32(0x18);
  if (usedBytes > record.length) throw damaged(`${record.what}: ${usedBytes} bytes are in use`);
  const attributes: NtfsAttribute[] = [];
  let at = record.u16(0x14);
  if (at < HEADER_BYTES) throw damaged(`${record.what}: its attributes begin at ${at}`);
  while (at + 4 <= usedBytes && record.u32(at) !== ATTRIBUTE.end) {
    const lengthBytes = record.u32(at + 4);
    if (lengthBytes < RESIDENT_BYTES || lengthBytes % 8 !== 0 || at + lengthBytes > usedBytes) {
      throw damaged(`${record.what}: an attribute of ${lengthBytes} bytes at ${at}`);
    }
    const own = new Fields(record.take(at, lengthBytes), record.what, 'little');
    attributes.push(attributeOf(own, clusterCount));
    at += lengthBytes;
  }
  if (at + 4 > usedBytes) throw damaged(`${record.what}: its attributes have no end`);
  return attributes;
}

function attributeOf(own: Fields, clusterCount: number): NtfsAttribute {
  const nameLength = own.u8(9);
  const common = {
    type: own.u32(0),
    name: nameLength === 0 ? '' : utf16(own, own.u16(0x0a), nameLength),
    isCompressed: (own.u16(0x0c) & COMPRESSED) !== 0,
  };
  if (own.u8(8) === 0) {
    const value = own.take(own.u16(0x14), own.u32(0x10));
    return { ...common, value: new Fields(value, own.what, 'little') };
  }
  if (own.length < ELSEWHERE_BYTES) throw damaged(`${own.what}: an attribute is cut short`);
  const firstVcn = own.u64(0x10);
  const endVcn = endAt(own, 0x18);
  if (endVcn < firstVcn) throw damaged(`${own.what}: clusters ${firstVcn} to ${endVcn}`);
  const runs = runsOf({ fields: own, at: own.u16(0x20), firstVcn, endVcn, clusterCount });
  const isFirst = firstVcn === 0;
  return {
    ...common,
    piece: {
      ...{ runs, firstVcn },
      dataBytes: isFirst ? own.u64(0x30) : 0,
      initializedBytes: isFirst ? own.u64(0x38) : 0,
    },
  };
}

/** The last number there is, or -1, and one more. */
function endAt(own: Fields, at: number): number {
  return own.high(at) === 0xffffffff && own.low(at) === 0xffffffff ? 0 : own.u64(at) + 1;
}
