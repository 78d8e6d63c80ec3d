/** What the log says of a snapshot, and how a person names one. */
import { CHUNK_BYTES_MAX, CHUNK_BYTES_MIN } from '../codec/index.ts';
import { StoreError } from './errors.ts';
import type { Geometry } from './geometry.ts';
import type { JsonFields } from './json.ts';
import { NAME_BYTES_MAX } from './limits.ts';
import type { PlainFields, Sealer } from './sealer.ts';
import type { Child, Tree } from './tree-reader.ts';

export const SNAPSHOT_ID_BYTES = 16;

export type UnreadableExtent = { readonly offsetBytes: number; readonly lengthBytes: number };

export type Snapshot = {
  /** 16 random bytes in hexadecimal. */
  readonly id: string;
  readonly volume: string;
  /** ISO 8601, as the writer's clock said; order comes from the log, not from this. */
  readonly time: string;
  readonly sizeBytes: number;
  readonly chunkBytes: number;
  readonly root: Child;
  /** The volume digest, in hexadecimal. */
  readonly digest: string;
  /** The snapshot it was compared with. */
  readonly parent: string | undefined;
  /** The change source that was used, for example `checksum`. */
  readonly source: string;
  /** Tells one source of a volume from another without naming it: a hash of where it lies. */
  readonly origin: string;
  readonly readBytes: number;
  readonly changedBytes: number;
  /** What the snapshot added to the repository. */
  readonly storedBytes: number;
  /** Ranges that the source failed to read; they hold zeroes. */
  readonly unreadable: readonly UnreadableExtent[];
  /** Words that people gave it, sorted. */
  readonly tags: readonly string[];
  /** Nothing forgets it before it is released. */
  readonly held: boolean;
  /** Of a copy: the id that it has in the repository where it was made. */
  readonly copyOf?: string;
};

/** What a snapshot and all its copies have in common, wherever they are. */
export function originalId({ id, copyOf }: Pick<Snapshot, 'id' | 'copyOf'>): string {
  return copyOf ?? id;
}

export function geometryOf(snapshot: Snapshot): Geometry {
  return { sizeBytes: snapshot.sizeBytes, chunkBytes: snapshot.chunkBytes };
}

export function treeOf(snapshot: Snapshot): Tree {
  return { geometry: geometryOf(snapshot), root: snapshot.root };
}

/** What a host may see: what it takes to find everything that the snapshot needs. */
const CLEAR_FIELDS = ['id', 'sizeBytes', 'chunkBytes', 'root'];

/** What a host sees instead of the rest. */
export const UNKNOWN_FIELDS = {
  volume: '(sealed)',
  time: '',
  digest: '0'.repeat(64),
  source: '',
  origin: '',
  readBytes: 0,
  changedBytes: 0,
  storedBytes: 0,
};

export function snapshotToJson(snapshot: Snapshot, sealer: Sealer): PlainFields {
  const { parent, unreadable, root, tags, held, ...fields } = snapshot;
  const all = {
    ...fields,
    root: root === undefined ? null : root,
    ...(parent === undefined ? {} : { parent }),
    ...(unreadable.length === 0 ? {} : { unreadable }),
    ...(tags.length === 0 ? {} : { tags }),
    ...(held ? { held } : {}),
  };
  return sealer.hide(`snapshot ${snapshot.id}`, all, CLEAR_FIELDS);
}

export function snapshotFromJson(stored: JsonFields, sealer: Sealer): Snapshot {
  const place = `snapshot ${stored.hex('id', SNAPSHOT_ID_BYTES)}`;
  const fields = sealer.reveal(place, stored, UNKNOWN_FIELDS);
  const root = fields.has('root') ? fields.object('root') : undefined;
  checkVolumeName(fields.text('volume'));
  return {
    id: fields.hex('id', SNAPSHOT_ID_BYTES),
    volume: fields.text('volume'),
    time: fields.text('time'),
    sizeBytes: fields.count('sizeBytes'),
    chunkBytes: fields.power('chunkBytes', CHUNK_BYTES_MIN, CHUNK_BYTES_MAX),
    root: root && { record: root.hex('record', 32), ordinal: root.count('ordinal') },
    digest: fields.hex('digest', 32),
    parent: fields.has('parent') ? fields.hex('parent', SNAPSHOT_ID_BYTES) : undefined,
    source: fields.text('source'),
    origin: fields.text('origin'),
    readBytes: fields.count('readBytes'),
    changedBytes: fields.count('changedBytes'),
    storedBytes: fields.count('storedBytes'),
    unreadable: fields.has('unreadable')
      ? fields.objects('unreadable').map((extent) => ({
          offsetBytes: extent.count('offsetBytes'),
          lengthBytes: extent.count('lengthBytes'),
        }))
      : [],
    tags: fields.has('tags') ? fields.texts('tags') : [],
    held: fields.has('held') ? fields.flag('held') : false,
    ...(fields.has('copyOf') && { copyOf: fields.hex('copyOf', SNAPSHOT_ID_BYTES) }),
  };
}

/** STORE_NAME unless the word may be a tag: no spaces, commas, control characters. */
export function checkTag(tag: string): void {
  const bytes = new TextEncoder().encode(tag).byteLength;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused
  const whole = /^[^\s,\u0000-\u001f\u007f]+$/.test(tag);
  if (whole && bytes <= NAME_BYTES_MAX && !tag.startsWith('-')) return;
  throw new StoreError('STORE_NAME', `${JSON.stringify(tag)} cannot be a tag`, {
    hint: 'Use one word of up to 128 bytes without commas.',
  });
}

/** STORE_NAME unless `name` may name a volume: no `/`, `@`, `~`, control characters, dot-names. */
export function checkVolumeName(name: string): void {
  // Counted only where it may matter: this runs for each snapshot of a log.
  const short = name.length * 3 <= NAME_BYTES_MAX;
  const bytes = short ? name.length : new TextEncoder().encode(name).byteLength;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused
  if (bytes > 0 && bytes <= NAME_BYTES_MAX && /^[^/@~\u0000-\u001f\u007f]+$/.test(name)) {
    if (name !== '.' && name !== '..' && !name.startsWith('-')) return;
  }
  throw new StoreError('STORE_NAME', `${JSON.stringify(name)} cannot name a volume`, {
    hint: 'Use up to 128 bytes without / @ ~ and control characters: --name NAME.',
  });
}

export type SnapshotName = {
  readonly volume: string;
  readonly which: string;
  readonly back: number;
};

/** Takes `VOL`, `VOL@latest`, `VOL@latest~2`, `VOL@PREFIX` apart. */
export function parseSnapshotName(text: string): SnapshotName {
  const match = /^([^@]+)(?:@([0-9a-z]+)(?:~(\d{1,9}))?)?$/.exec(text);
  if (match === null) {
    throw new StoreError('STORE_NAME', `${JSON.stringify(text)} does not name a snapshot`, {
      hint: 'Write VOL@latest, VOL@latest~2 or VOL@ and the first digits of its id.',
    });
  }
  return { volume: match[1]!, which: match[2] ?? 'latest', back: Number(match[3] ?? 0) };
}
