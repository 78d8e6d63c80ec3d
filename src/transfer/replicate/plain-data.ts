/** The plain bytes of a data message's records, each verified by its hash. */
import { CodecError, type Frame, parseFrame, plainSection } from '../../codec/index.ts';
import { equalBytes, sha256 } from '../../core/index.ts';
import { type BlockData, type Entry, hasRecord } from '../../wire/index.ts';
import { protocolBreach, ReplicateError } from './errors.ts';

export type Plain = {
  /** All of them, one behind the other; perhaps a view of the message. */
  readonly section: Uint8Array;
  /** Views of it: one for each entry with a record, in their order. */
  readonly records: readonly Uint8Array[];
};

const nothing: Plain = { section: new Uint8Array(0), records: [] };

/** `take` gives memory for what must be decompressed. REPLICATE_HASH, REPLICATE_PROTOCOL. */
export function plainOf(data: BlockData, take?: (lengthBytes: number) => Uint8Array): Plain {
  const entries = data.entries.filter(({ kind }) => hasRecord(kind));
  if (entries.length === 0) return nothing;
  // The hashes prove all of what the checksum is of, and more.
  const frame = framed(data, entries.length, true);
  const { plainRawBytes, plainStoredBytes } = frame;
  const memory = plainStoredBytes < plainRawBytes ? take?.(plainRawBytes) : undefined;
  const section = reading(() => plainSection(frame, memory));
  const records = frame.records.map(({ at, rawBytes }, index) => {
    const entry = entries[index]!;
    checkLength(entry, rawBytes);
    const bytes = section.subarray(at, at + rawBytes);
    if (!equalBytes(sha256(bytes), entry.hash!)) throw wrongHash(entry);
    return bytes;
  });
  return { section, records };
}

/** `isSound`: its checksum need not be looked at. */
export function framed(data: BlockData, recordCount: number, isSound: boolean): Frame {
  const frame = reading(() => parseFrame(data.frame, { isSound }));
  if (frame.records.length !== recordCount) {
    throw protocolBreach(`a frame of ${frame.records.length} records for ${recordCount} entries`);
  }
  return frame;
}

/** A frame that does not decode is as good as one with other content. */
export function reading<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof CodecError)) throw error;
    throw new ReplicateError('REPLICATE_HASH', `a frame does not decode: ${error.message}`, {
      hint: 'Nothing was applied; the agent sends it again.',
      cause: error,
    });
  }
}

export function checkLength({ lengthBytes, offsetBytes }: Entry, rawBytes: number): void {
  if (lengthBytes === rawBytes) return;
  throw protocolBreach(`a record of ${rawBytes} bytes for ${lengthBytes} at ${offsetBytes}`);
}

export function wrongHash({ offsetBytes, lengthBytes }: Entry): ReplicateError {
  const where = `${lengthBytes} bytes at ${offsetBytes}`;
  return new ReplicateError('REPLICATE_HASH', `${where} do not have the hash that was sent`, {
    hint: 'Nothing of it was applied; the agent sends it again.',
  });
}
