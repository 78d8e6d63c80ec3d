/** Where records belong: the list in BLOCK_DATA, a few bytes each beside the hash. */
import { PATCH_PARENTS_MAX } from '../../codec/index.ts';
import { type ByteReader, type ByteWriter, FormatError, SHA256_BYTES } from '../../core/index.ts';
import { limitError } from '../errors.ts';
import { ENTRIES_MAX, PLACE_BYTES_MAX } from '../limits.ts';

export const KIND_NOOP = 0;
export const KIND_ZERO = 1;
export const KIND_REFERENCE = 2;
export const KIND_PATCH = 3;
/** Changed bytes inside a chunk. */
export const KIND_RUN = 4;
export const KIND_DATA = 5;
/** A patch against other places than its own; only for a peer that has PLACES among its words. */
export const KIND_PLACED_PATCH = 6;
const KIND_MAX = KIND_PLACED_PATCH;

/** What a peer can do that knows KIND_PLACED_PATCH. */
export const PLACES = 'places';

const KIND_BITS = 0x07;
/** A byte each follows for class and importance. */
const WITH_CLASS = 0x08;
/** The extent begins a varint behind the end of the one before; without a bit, right there. */
const WITH_GAP = 0x10;
/** The extent begins at a varint. */
const WITH_OFFSET = 0x20;
/** The length is that of the entry before. */
const SAME_LENGTH = 0x40;

/** What a patch stands on: bytes of the volume, as they were or as this epoch has them. */
export type Place = {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  /** An extent of this epoch that was sent before, whole; otherwise as in the epoch below. */
  readonly isNew: boolean;
};

export type Entry = {
  readonly kind: number;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  /** SHA-256 of the extent's new bytes; undefined for noop and zero. */
  readonly hash: Uint8Array | undefined;
  readonly blockClass: number;
  readonly importance: number;
  /** Of a placed patch, and of no other: in the order in which they are its dictionary. */
  readonly places?: readonly Place[];
};

/** Whether the frame of the message holds a record for entries of this kind. */
export function hasRecord(kind: number): boolean {
  return kind >= KIND_PATCH;
}

export function putEntries(writer: ByteWriter, entries: readonly Entry[]): void {
  if (entries.length > ENTRIES_MAX) throw limitError(`${entries.length} entries in one message`);
  writer.varint(entries.length);
  let end = 0;
  let before = -1;
  for (const entry of entries) {
    const { kind, offsetBytes, lengthBytes, hash, blockClass, importance } = entry;
    const place = offsetBytes === end ? 0 : offsetBytes > end ? WITH_GAP : WITH_OFFSET;
    const isClassed = blockClass !== 0 || importance !== 0;
    writer.u8(
      kind | place | (isClassed ? WITH_CLASS : 0) | (lengthBytes === before ? SAME_LENGTH : 0),
    );
    if (place !== 0) writer.varint(place === WITH_GAP ? offsetBytes - end : offsetBytes);
    if (lengthBytes !== before) writer.varint(lengthBytes);
    if (isClassed) {
      writer.u8(blockClass);
      writer.u8(importance);
    }
    if (kind >= KIND_REFERENCE) writer.put(hash!);
    if (kind === KIND_PLACED_PATCH) putPlaces(writer, entry.places!);
    end = offsetBytes + lengthBytes;
    before = lengthBytes;
  }
}

function putPlaces(writer: ByteWriter, places: readonly Place[]): void {
  writer.u8(places.length);
  for (const { offsetBytes, lengthBytes, isNew } of places) {
    writer.varint(lengthBytes * 2 + (isNew ? 1 : 0));
    writer.varint(offsetBytes);
  }
}

function getPlaces(reader: ByteReader): Place[] {
  const count = reader.u8();
  if (count === 0 || count > PATCH_PARENTS_MAX) throw new FormatError(`a patch of ${count} places`);
  return Array.from({ length: count }, () => {
    const head = reader.varint();
    const lengthBytes = Math.floor(head / 2);
    const offsetBytes = reader.varint();
    if (lengthBytes === 0) throw new FormatError('a place without a length');
    if (lengthBytes > PLACE_BYTES_MAX) throw limitError(`a place of ${lengthBytes} bytes`);
    if (!Number.isSafeInteger(offsetBytes + lengthBytes)) {
      throw new FormatError('a place ends beyond 2^53');
    }
    return { offsetBytes, lengthBytes, isNew: head % 2 === 1 };
  });
}

/** Hashes are views of the reader's bytes. */
export function getEntries(reader: ByteReader): Entry[] {
  const count = reader.count(ENTRIES_MAX, 'the number of entries');
  const entries: Entry[] = [];
  let end = 0;
  let lengthBytes = -1;
  for (let at = 0; at < count; at += 1) {
    const head = reader.u8();
    const kind = head & KIND_BITS;
    if (kind > KIND_MAX || head > 0x7f) throw new FormatError(`an entry begins with ${head}`);
    const place = head & (WITH_GAP | WITH_OFFSET);
    if (place === (WITH_GAP | WITH_OFFSET)) throw new FormatError('an entry has two places');
    let offsetBytes = end;
    if (place === WITH_GAP) offsetBytes += reader.varint();
    else if (place === WITH_OFFSET) offsetBytes = reader.varint();
    if ((head & SAME_LENGTH) === 0) lengthBytes = reader.varint();
    if (lengthBytes <= 0) throw new FormatError('an entry without a length');
    end = offsetBytes + lengthBytes;
    if (!Number.isSafeInteger(end)) throw new FormatError('an entry ends beyond 2^53');
    const isClassed = (head & WITH_CLASS) !== 0;
    const blockClass = isClassed ? reader.u8() : 0;
    const importance = isClassed ? reader.u8() : 0;
    const hash = kind >= KIND_REFERENCE ? reader.take(SHA256_BYTES) : undefined;
    const entry = { kind, offsetBytes, lengthBytes, hash, blockClass, importance };
    entries.push(kind === KIND_PLACED_PATCH ? { ...entry, places: getPlaces(reader) } : entry);
  }
  return entries;
}
