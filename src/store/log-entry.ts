/** Entries of the commit log: what each kind says, and how it is spelled. */
import { damagedObject } from './errors.ts';
import { JsonFields } from './json.ts';
import type { Sealer } from './sealer.ts';
import { type Snapshot, snapshotFromJson, snapshotToJson } from './snapshot.ts';

/** What an entry changes about where chunks are found. */
export type IndexChange = {
  /** Packs that no segment covers, from now on; and those that one covers now. */
  readonly packs: readonly string[];
  readonly packsDropped: readonly string[];
  readonly segments: readonly SegmentInfo[];
  readonly segmentsDropped: readonly string[];
};

export type SegmentInfo = { readonly id: string; readonly records: number };

export type LogEntry = {
  /** The place in the log, from 1. */
  readonly sequence: number;
  /** SHA-256 of the entry before, in hexadecimal; zeroes for the first. */
  readonly previous: string;
  /** Random: tells the writer that an entry whose answer was lost is its own. */
  readonly nonce: string;
  /** The generation of garbage collection in which it was committed. */
  readonly generation: number;
  readonly snapshot: Snapshot;
  readonly index: IndexChange;
};

export const NO_PREVIOUS = '0'.repeat(64);

export function logKey(sequence: number): string {
  return `log/${String(sequence).padStart(16, '0')}`;
}

export function entryToJson(entry: LogEntry, sealer: Sealer): unknown {
  const { snapshot, index, ...fields } = entry;
  return {
    type: 'snapshot',
    ...fields,
    snapshot: snapshotToJson(snapshot, sealer),
    index: indexChangeToJson(index),
  };
}

function indexChangeToJson(index: IndexChange): unknown {
  return {
    ...(index.packs.length > 0 && { packs: index.packs }),
    ...(index.packsDropped.length > 0 && { packsDropped: index.packsDropped }),
    ...(index.segments.length > 0 && { segments: index.segments }),
    ...(index.segmentsDropped.length > 0 && { segmentsDropped: index.segmentsDropped }),
  };
}

export function entryFromJson(value: unknown, key: string, sealer: Sealer): LogEntry {
  const fields = new JsonFields(value, key);
  const type = fields.text('type');
  if (type !== 'snapshot') {
    throw damagedObject(key, `entries of type ${JSON.stringify(type)} are not known here`);
  }
  return {
    sequence: fields.count('sequence'),
    previous: fields.hex('previous', 32),
    nonce: fields.hex('nonce', 16),
    generation: fields.count('generation'),
    snapshot: snapshotFromJson(fields.object('snapshot'), sealer),
    index: indexChangeFromJson(fields.object('index')),
  };
}

function indexChangeFromJson(fields: JsonFields): IndexChange {
  const hexes = (name: string) => (fields.has(name) ? fields.hexes(name, 32) : []);
  return {
    packs: hexes('packs'),
    packsDropped: hexes('packsDropped'),
    segments: fields.has('segments') ? fields.objects('segments').map(segmentFromJson) : [],
    segmentsDropped: hexes('segmentsDropped'),
  };
}

export function segmentFromJson(fields: JsonFields): SegmentInfo {
  return { id: fields.hex('id', 32), records: fields.count('records') };
}
