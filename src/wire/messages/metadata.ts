/** METADATA: facts about a volume; its shape, change sets, classes, profile, file systems. */
import { ByteReader, ByteWriter } from '../../core/index.ts';
import { decoding, limitError, WireError } from '../errors.ts';
import { FACT_BYTES_MAX, FACTS_MAX, NAME_BYTES_MAX } from '../limits.ts';
import { getExtensions, putExtensions, TAG_MANDATORY } from './extensions.ts';
import { getText, putText } from './text.ts';

/** What a fact is about; with TAG_MANDATORY a receiver that does not know it must refuse. */
export const FACT_NAME = TAG_MANDATORY | 1;
export const FACT_GEOMETRY = TAG_MANDATORY | 2;
/** Extents that an epoch changed, one page of them. */
export const FACT_CHANGES = TAG_MANDATORY | 3;
export const FACT_CLASSES = 4;
export const FACT_PROFILE = 5;
export const FACT_FILE_SYSTEM = 6;
/** What the sender keeps of single blocks: hash, size, last modified. */
export const FACT_BLOCKS = 7;
/** What a peer can do that tells the hashes of blocks, and finds what it was sent by them. */
export const BLOCKS = 'blocks';
/** A request for facts of a kind, and requests and answers of the journeys, as JSON. */
export const FACT_REQUEST = TAG_MANDATORY | 8;

const knownFacts = new Set([
  ...[FACT_NAME, FACT_GEOMETRY, FACT_CHANGES, FACT_CLASSES],
  ...[FACT_PROFILE, FACT_FILE_SYSTEM, FACT_BLOCKS, FACT_REQUEST],
]);

export type Fact = { readonly tag: number; readonly bytes: Uint8Array };

export type Metadata = {
  /** The sender's number for the volume in this session; FACT_NAME introduces it. */
  readonly volume: number;
  readonly epoch: number;
  readonly facts: readonly Fact[];
};

export function encodeMetadata({ volume, epoch, facts }: Metadata): Uint8Array {
  if (facts.length > FACTS_MAX) throw limitError(`${facts.length} facts in one METADATA`);
  const writer = new ByteWriter();
  writer.varint(volume);
  writer.varint(epoch);
  putExtensions(writer);
  writer.varint(facts.length);
  for (const { tag, bytes } of facts) {
    if (bytes.byteLength > FACT_BYTES_MAX) throw limitError(`a fact of ${bytes.byteLength} bytes`);
    writer.u8(tag);
    writer.varint(bytes.byteLength);
    writer.put(bytes);
  }
  return writer.view();
}

/** Facts are views of `body`; those with an unknown tag are left out, or refused if mandatory. */
export function decodeMetadata(body: Uint8Array): Metadata {
  return decoding('METADATA', () => {
    const reader = new ByteReader(body);
    const volume = reader.varint();
    const epoch = reader.varint();
    getExtensions(reader, 'METADATA');
    const count = reader.count(FACTS_MAX, 'the number of facts');
    const facts: Fact[] = [];
    for (let at = 0; at < count; at += 1) {
      const tag = reader.u8();
      const bytes = reader.take(reader.count(FACT_BYTES_MAX, 'a fact'));
      if (knownFacts.has(tag)) facts.push({ tag, bytes });
      else if ((tag & TAG_MANDATORY) !== 0) {
        throw new WireError('WIRE_UNSUPPORTED', `METADATA has the mandatory fact ${tag}`, {
          hint: 'The peer needs a feature that this version does not have; update this side.',
        });
      }
    }
    reader.end();
    return { volume, epoch, facts };
  });
}

export type Geometry = {
  readonly sizeBytes: number;
  readonly blockBytes: number;
  readonly chunkBytes: number;
};

export function geometryFact({ sizeBytes, blockBytes, chunkBytes }: Geometry): Fact {
  const writer = new ByteWriter(24);
  writer.varint(sizeBytes);
  writer.varint(blockBytes);
  writer.varint(chunkBytes);
  return { tag: FACT_GEOMETRY, bytes: writer.view() };
}

export function geometryOf({ bytes }: Fact): Geometry {
  return decoding('a geometry', () => {
    const reader = new ByteReader(bytes);
    const sizeBytes = reader.varint();
    const blockBytes = reader.varint();
    const chunkBytes = reader.varint();
    reader.end();
    return { sizeBytes, blockBytes, chunkBytes };
  });
}

export function nameFact(name: string): Fact {
  const writer = new ByteWriter(64);
  putText(writer, name, NAME_BYTES_MAX);
  return { tag: FACT_NAME, bytes: writer.view() };
}

export function nameOf({ bytes }: Fact): string {
  return decoding('a name', () => {
    const reader = new ByteReader(bytes);
    const name = getText(reader, NAME_BYTES_MAX, 'a name');
    reader.end();
    return name;
  });
}

export type ChangedRun = { readonly offsetBytes: number; readonly lengthBytes: number };

/** One page of a change set: ascending runs, each as gap and length. */
export function changesFact(runs: readonly ChangedRun[]): Fact {
  const writer = new ByteWriter();
  let end = 0;
  for (const { offsetBytes, lengthBytes } of runs) {
    writer.varint(offsetBytes - end);
    writer.varint(lengthBytes);
    end = offsetBytes + lengthBytes;
  }
  return { tag: FACT_CHANGES, bytes: writer.view() };
}

export function changesOf({ bytes }: Fact): ChangedRun[] {
  return decoding('a change set', () => {
    const reader = new ByteReader(bytes);
    const runs: ChangedRun[] = [];
    let end = 0;
    while (reader.remaining > 0) {
      const offsetBytes = end + reader.varint();
      const lengthBytes = reader.varint();
      end = offsetBytes + lengthBytes;
      if (!Number.isSafeInteger(end)) throw limitError('a change set beyond 2^53');
      runs.push({ offsetBytes, lengthBytes });
    }
    return runs;
  });
}
