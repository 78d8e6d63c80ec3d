/** Entries of the commit log: what each kind says, and how it is spelled. */
import { FORMAT_VERSION, SECOND_VERSION } from './envelope.ts';
import { damagedObject } from './errors.ts';
import { JsonFields } from './json.ts';
import { PARITY_PERCENT_MAX } from './limits.ts';
import { type Sealer, sealJsonObject, unsealJsonObject } from './sealer.ts';
import { SNAPSHOT_ID_BYTES, type Snapshot, snapshotFromJson, snapshotToJson } from './snapshot.ts';

/** What an entry changes about where chunks are found. */
export type IndexChange = {
  /** Packs that no segment covers, from now on; and those that one covers now. */
  readonly packs: readonly string[];
  readonly packsDropped: readonly string[];
  readonly segments: readonly SegmentInfo[];
  readonly segmentsDropped: readonly string[];
};

export type SegmentInfo = { readonly id: string; readonly records: number };

export const NO_INDEX_CHANGE: IndexChange = {
  packs: [],
  packsDropped: [],
  segments: [],
  segmentsDropped: [],
};

/** What an entry says, by its type. Snapshots are named by their ids. */
export type LogChange =
  | { readonly type: 'snapshot'; readonly snapshot: Snapshot; readonly index: IndexChange }
  | {
      /** Only says where chunks are found. */
      readonly type: 'index';
      readonly index: IndexChange;
      /** Whether snapshots miss chunks, which a repair had to give up; as before if absent. */
      readonly lossy?: boolean;
      /** Parity stripes that packs get for a hundred of theirs, 0 for none; as before if absent. */
      readonly parity?: number;
    }
  | { readonly type: 'forget'; readonly snapshots: readonly string[] }
  | { readonly type: 'hold'; readonly snapshots: readonly string[]; readonly held: boolean }
  | {
      readonly type: 'tag';
      readonly snapshots: readonly string[];
      readonly added: readonly string[];
      readonly removed: readonly string[];
    }
  | {
      /** Sessions that commit no more, and packs and segments that are committed no more. */
      readonly type: 'fence';
      readonly sessions: readonly string[];
      readonly objects: readonly string[];
    }
  | {
      /** Begins the generation that the entry bears: a step of garbage collection. */
      readonly type: 'generation';
      /** Nobody may come to rely on these packs any more; they can still be read. */
      readonly condemned: readonly string[];
      /** Condemned before, and needed after all. */
      readonly spared: readonly string[];
      /** Condemned before, and of the repository no longer. */
      readonly dropped: readonly string[];
      readonly index: IndexChange;
    };

type Place = {
  /** The place in the log, from 1. */
  readonly sequence: number;
  /** SHA-256 of the entry before, in hexadecimal; zeroes for the first. */
  readonly previous: string;
  /** Random: tells the writer that an entry whose answer was lost is its own. */
  readonly nonce: string;
};

/** What a writer says; the log adds place, predecessor and nonce. */
export type Proposal = LogChange & {
  /** The generation of garbage collection that holds once the entry is there. */
  readonly generation: number;
};

export type LogEntry = Place & Proposal;

export const NO_PREVIOUS = '0'.repeat(64);

export function logKey(sequence: number): string {
  return `log/${String(sequence).padStart(16, '0')}`;
}

/** The object. All but snapshots are told to programs of the first version as too new. */
export function sealEntry(sealer: Sealer, entry: LogEntry): Uint8Array {
  const version = entry.type === 'snapshot' ? FORMAT_VERSION : SECOND_VERSION;
  const key = logKey(entry.sequence);
  return sealJsonObject(sealer, 'log', key, entryToJson(entry, sealer), version);
}

export function unsealEntry(sealer: Sealer, bytes: Uint8Array, key: string): LogEntry {
  return entryFromJson(unsealJsonObject(sealer, 'log', key, bytes), key, sealer);
}

export function entryToJson(entry: LogEntry, sealer: Sealer): unknown {
  if (entry.type === 'snapshot') {
    const { snapshot, index, ...fields } = entry;
    const said = snapshotToJson(snapshot, sealer);
    return { ...fields, snapshot: said, index: indexChangeToJson(index) };
  }
  if (entry.type === 'tag') {
    const { added, removed, ...fields } = entry;
    return { ...fields, ...sealer.hide(tagPlace(entry.nonce), { added, removed }, []) };
  }
  if (entry.type === 'generation' || entry.type === 'index') {
    return { ...entry, index: indexChangeToJson(entry.index) };
  }
  return entry;
}

/** What people call things is nothing for a host to see. */
function tagPlace(nonce: string): string {
  return `tags of entry ${nonce}`;
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
  const change = changeFromJson(fields, key, sealer);
  return {
    sequence: fields.count('sequence'),
    previous: fields.hex('previous', 32),
    nonce: fields.hex('nonce', 16),
    generation: fields.count('generation'),
    ...change,
  };
}

function changeFromJson(fields: JsonFields, key: string, sealer: Sealer): LogChange {
  const type = fields.text('type');
  const snapshots = () => fields.hexes('snapshots', SNAPSHOT_ID_BYTES);
  switch (type) {
    case 'snapshot': {
      const snapshot = snapshotFromJson(fields.object('snapshot'), sealer);
      return { type, snapshot, index: indexChangeFromJson(fields.object('index')) };
    }
    case 'index':
      return {
        type,
        index: indexChangeFromJson(fields.object('index')),
        ...(fields.has('lossy') && { lossy: fields.flag('lossy') }),
        ...(fields.has('parity') && { parity: parityFrom(fields) }),
      };
    case 'forget':
      return { type, snapshots: snapshots() };
    case 'hold':
      return { type, snapshots: snapshots(), held: fields.flag('held') };
    case 'tag': {
      const place = tagPlace(fields.hex('nonce', 16));
      const shown = sealer.reveal(place, fields, { added: [], removed: [] });
      const [added, removed] = [shown.texts('added'), shown.texts('removed')];
      return { type, snapshots: snapshots(), added, removed };
    }
    case 'fence':
      return { type, sessions: fields.hexes('sessions', 16), objects: fields.hexes('objects', 32) };
    case 'generation':
      return {
        type,
        condemned: fields.hexes('condemned', 32),
        spared: fields.hexes('spared', 32),
        dropped: fields.hexes('dropped', 32),
        index: indexChangeFromJson(fields.object('index')),
      };
    default:
      throw damagedObject(key, `entries of type ${JSON.stringify(type)} are not known here`);
  }
}

/** The share of parity that an object names. */
export function parityFrom(fields: JsonFields): number {
  return Math.min(fields.count('parity'), PARITY_PERCENT_MAX);
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
