/** Snapshots in columns, as checkpoints hold them: a hundred thousand are read in a moment. */
import { CHUNK_BYTES_MAX, CHUNK_BYTES_MIN } from '../codec/index.ts';
import { ByteReader, ByteWriter, FormatError, fromHex, toHex } from '../core/index.ts';
import { parseJson } from './envelope.ts';
import { CHECKPOINT_JSON_BYTES_MAX, CHECKPOINT_SNAPSHOTS_MAX } from './limits.ts';
import {
  checkVolumeName,
  SNAPSHOT_ID_BYTES,
  type Snapshot,
  UNKNOWN_FIELDS,
  type UnreadableExtent,
} from './snapshot.ts';

const HASH_BYTES = 32;

/** In a snapshot's byte of the visible part, beside the logarithm of its chunk size. */
const HAS_ROOT = 128;

/** In its byte of the hidden part. */
const HAS_PARENT = 1;
const IS_HELD = 2;
const HAS_TAGS = 4;
const HAS_UNREADABLE = 8;
const IS_COPY = 16;

/** What anybody may see of the snapshots, and what takes the key of an encrypted repository. */
export type SnapshotTable = {
  readonly visible: Uint8Array;
  readonly hidden: Uint8Array;
};

export function encodeSnapshots(snapshots: readonly Snapshot[]): SnapshotTable {
  return { visible: visiblePart(snapshots), hidden: hiddenPart(snapshots) };
}

function visiblePart(snapshots: readonly Snapshot[]): Uint8Array {
  const writer = new ByteWriter(64 * snapshots.length);
  writer.varint(snapshots.length);
  for (const { id } of snapshots) writer.put(fromHex(id, SNAPSHOT_ID_BYTES)!);
  for (const { chunkBytes, root } of snapshots) {
    writer.u8(Math.log2(chunkBytes) + (root === undefined ? 0 : HAS_ROOT));
  }
  for (const { sizeBytes } of snapshots) writer.varint(sizeBytes);
  const roots = snapshots.flatMap(({ root }) => root ?? []);
  for (const { record } of roots) writer.put(fromHex(record, HASH_BYTES)!);
  for (const { ordinal } of roots) writer.varint(ordinal);
  return writer.view();
}

function hiddenPart(snapshots: readonly Snapshot[]): Uint8Array {
  const texts = new Map<string, number>();
  const numberOf = (text: string) => {
    const known = texts.get(text);
    if (known !== undefined) return known;
    texts.set(text, texts.size);
    return texts.size - 1;
  };
  const writer = new ByteWriter(96 * snapshots.length);
  for (const snapshot of snapshots) writer.u8(flagsOf(snapshot));
  for (const { volume } of snapshots) writer.varint(numberOf(volume));
  for (const { time } of snapshots) writer.varint(numberOf(time));
  for (const { source } of snapshots) writer.varint(numberOf(source));
  for (const { origin } of snapshots) writer.varint(numberOf(origin));
  for (const { digest } of snapshots) writer.put(fromHex(digest, HASH_BYTES)!);
  for (const { readBytes } of snapshots) writer.varint(readBytes);
  for (const { changedBytes } of snapshots) writer.varint(changedBytes);
  for (const { storedBytes } of snapshots) writer.varint(storedBytes);
  for (const ids of [snapshots.map(({ parent }) => parent), snapshots.map((one) => one.copyOf)]) {
    for (const id of ids) if (id !== undefined) writer.put(fromHex(id, SNAPSHOT_ID_BYTES)!);
  }
  for (const { tags } of snapshots) {
    if (tags.length > 0) writer.varint(tags.length);
    for (const tag of tags) writer.varint(numberOf(tag));
  }
  for (const { unreadable } of snapshots) {
    if (unreadable.length > 0) writer.varint(unreadable.length);
    for (const { offsetBytes, lengthBytes } of unreadable) {
      writer.varint(offsetBytes);
      writer.varint(lengthBytes);
    }
  }
  const words = new TextEncoder().encode(JSON.stringify([...texts.keys()]));
  const whole = new ByteWriter(words.byteLength + writer.length + 8);
  whole.varint(words.byteLength);
  whole.put(words);
  whole.put(writer.view());
  return whole.view();
}

function flagsOf({ parent, held, tags, unreadable, copyOf }: Snapshot): number {
  return (
    (parent === undefined ? 0 : HAS_PARENT) |
    (held ? IS_HELD : 0) |
    (tags.length === 0 ? 0 : HAS_TAGS) |
    (unreadable.length === 0 ? 0 : HAS_UNREADABLE) |
    (copyOf === undefined ? 0 : IS_COPY)
  );
}

/** Without `hidden`, what only the key shows is as unknown as elsewhere. FormatError. */
export function decodeSnapshots(
  visible: Uint8Array,
  hidden: Uint8Array | undefined,
  key: string,
): Snapshot[] {
  const shown = readVisible(new ByteReader(visible));
  if (hidden === undefined) {
    const unknown = { ...UNKNOWN_FIELDS, parent: undefined, held: false };
    const more = { ...unknown, unreadable: NO_EXTENTS, tags: NO_TAGS };
    return Array.from(shown.shapes, (_, at) => ({ ...shown.fieldsOf(at), ...more }));
  }
  const reader = new ByteReader(hidden);
  const texts = readTexts(reader, key);
  const columns = readHidden(reader, shown.shapes.length, texts);
  reader.end();
  const { flags, volumes, times, sources, origins, digests, read, changed, stored } = columns;
  for (const number of new Set(volumes)) checkVolumeName(texts[number]!);
  // Each is made once, with all its fields: there may be very many.
  const snapshotOf = (flag: number, at: number): Snapshot => ({
    ...shown.fieldsOf(at),
    volume: texts[volumes[at]!]!,
    time: texts[times[at]!]!,
    digest: digests(),
    parent: (flag & HAS_PARENT) === 0 ? undefined : columns.parents(),
    source: texts[sources[at]!]!,
    origin: texts[origins[at]!]!,
    readBytes: read[at]!,
    changedBytes: changed[at]!,
    storedBytes: stored[at]!,
    unreadable: columns.unreadable[at]!,
    tags: columns.tags[at]!,
    held: (flag & IS_HELD) !== 0,
  });
  return Array.from(flags, (flag, at) => {
    const snapshot = snapshotOf(flag, at);
    return (flag & IS_COPY) === 0 ? snapshot : { ...snapshot, copyOf: columns.originals() };
  });
}

/** One of each for all snapshots without. */
const NO_EXTENTS: readonly UnreadableExtent[] = [];
const NO_TAGS: readonly string[] = [];

/** `fieldsOf` gives those of each snapshot once, in their order. */
function readVisible(reader: ByteReader) {
  const count = reader.count(CHECKPOINT_SNAPSHOTS_MAX, 'the number of snapshots');
  const ids = hexColumn(reader, count, SNAPSHOT_ID_BYTES);
  const shapes = reader.take(count);
  const sizes = numberColumn(reader, count);
  const rootCount = shapes.reduce((sum, shape) => sum + (shape >>> 7), 0);
  const records = hexColumn(reader, rootCount, HASH_BYTES);
  const ordinals = numberColumn(reader, rootCount);
  reader.end();
  let roots = 0;
  const fieldsOf = (at: number) => {
    const shape = shapes[at]!;
    const chunkBytes = 2 ** (shape & ~HAS_ROOT);
    if (chunkBytes < CHUNK_BYTES_MIN || chunkBytes > CHUNK_BYTES_MAX) {
      throw new FormatError(`a snapshot has chunks of ${chunkBytes} bytes`);
    }
    const root = shape < HAS_ROOT ? undefined : { record: records(), ordinal: ordinals[roots++]! };
    return { id: ids(), sizeBytes: sizes[at]!, chunkBytes, root };
  };
  return { shapes, fieldsOf };
}

function readTexts(reader: ByteReader, key: string): string[] {
  const lengthBytes = reader.count(CHECKPOINT_JSON_BYTES_MAX, 'the length of its texts');
  const texts = parseJson(reader.take(lengthBytes), key);
  if (Array.isArray(texts) && texts.every((text) => typeof text === 'string')) return texts;
  throw new FormatError('its texts are something else');
}

function readHidden(reader: ByteReader, count: number, texts: readonly string[]) {
  const flags = reader.take(count);
  const textColumn = () => numberColumn(reader, count, texts.length - 1);
  const idsOf = (flag: number) => {
    const own = flags.reduce((sum, each) => sum + ((each & flag) === 0 ? 0 : 1), 0);
    return hexColumn(reader, own, SNAPSHOT_ID_BYTES);
  };
  return {
    flags,
    volumes: textColumn(),
    times: textColumn(),
    sources: textColumn(),
    origins: textColumn(),
    digests: hexColumn(reader, count, HASH_BYTES),
    read: numberColumn(reader, count),
    changed: numberColumn(reader, count),
    stored: numberColumn(reader, count),
    parents: idsOf(HAS_PARENT),
    originals: idsOf(IS_COPY),
    tags: listsOf(flags, HAS_TAGS, NO_TAGS, () => readTags(reader, texts)),
    unreadable: listsOf(flags, HAS_UNREADABLE, NO_EXTENTS, () => readExtents(reader)),
  };
}

function listsOf<T>(flags: Uint8Array, flag: number, none: T, next: () => T): T[] {
  return Array.from(flags, (own) => ((own & flag) === 0 ? none : next()));
}

function readTags(reader: ByteReader, texts: readonly string[]): string[] {
  const tags: string[] = [];
  for (let left = reader.varint(); left > 0; left--) {
    tags.push(texts[reader.count(texts.length - 1, 'a text')]!);
  }
  return tags;
}

function readExtents(reader: ByteReader): UnreadableExtent[] {
  const extents: UnreadableExtent[] = [];
  for (let left = reader.varint(); left > 0; left--) {
    const offsetBytes = reader.varint();
    extents.push({ offsetBytes, lengthBytes: reader.varint() });
  }
  return extents;
}

function numberColumn(reader: ByteReader, count: number, max?: number): Float64Array {
  if (count > reader.remaining) throw new FormatError(`${count} numbers are too many`);
  const numbers = new Float64Array(count);
  for (let at = 0; at < count; at++) {
    numbers[at] = max === undefined ? reader.varint() : reader.count(max, 'a text');
  }
  return numbers;
}

/** Gives one after the other. One conversion for all of them: the parts share its text. */
function hexColumn(reader: ByteReader, count: number, eachBytes: number): () => string {
  const all = toHex(reader.take(count * eachBytes));
  const digits = 2 * eachBytes;
  let at = 0;
  return () => {
    at += digits;
    return all.slice(at - digits, at);
  };
}
