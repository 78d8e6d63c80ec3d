/** The table of snapshots in a checkpoint, for the reader made from docs/format.md. */
import assert from 'node:assert/strict';
import { Cursor, hex } from './format-bytes.ts';

// biome-ignore lint/suspicious/noExplicitAny: a reader of JSON has its fields from the document
type Json = any;

/** `open` decrypts the hidden part, or gives it as it is. */
export function checkpointOf(payload: Buffer, open: (hidden: Buffer) => Buffer): Json {
  const cursor = new Cursor(payload);
  const fields = JSON.parse(cursor.take(cursor.varint()).toString());
  const visible = new Cursor(cursor.take(cursor.varint()));
  const hidden = new Cursor(open(cursor.take(cursor.left)));
  const count = visible.varint();
  const column = <T>(read: () => T, length = count) => Array.from({ length }, read);
  const ids = column(() => hex(visible.take(16)));
  const shapes = [...visible.take(count)];
  const sizes = column(() => visible.varint());
  const rooted = shapes.filter((shape) => shape >= 128).length;
  const records = column(() => hex(visible.take(32)), rooted);
  const ordinals = column(() => visible.varint(), rooted);
  assert.equal(visible.left, 0);
  const texts = JSON.parse(hidden.take(hidden.varint()).toString());
  const flags = [...hidden.take(count)];
  const text = () => {
    const number = hidden.varint();
    assert(number < texts.length);
    return texts[number];
  };
  const [volumes, times, sources, origins] = [
    column(text),
    column(text),
    column(text),
    column(text),
  ];
  const digests = column(() => hex(hidden.take(32)));
  const number = () => column(() => hidden.varint());
  const [read, changed, stored] = [number(), number(), number()];
  const optional = <T>(bit: number, take: () => T) =>
    flags.map((flag) => ((flag & bit) === 0 ? undefined : take()));
  const list =
    <T>(take: () => T) =>
    () =>
      Array.from({ length: hidden.varint() }, take);
  const parents = optional(1, () => hex(hidden.take(16)));
  const originals = optional(16, () => hex(hidden.take(16)));
  const tags = optional(4, list(text));
  const extent = () => ({ offsetBytes: hidden.varint(), lengthBytes: hidden.varint() });
  const unreadable = optional(8, list(extent));
  assert.equal(hidden.left, 0);
  let root = 0;
  const rootOf = (shape: number) =>
    shape < 128 ? null : { record: records[root]!, ordinal: ordinals[root++]! };
  const snapshots = ids.map((id, at) => ({
    id,
    volume: volumes[at],
    time: times[at],
    sizeBytes: sizes[at],
    chunkBytes: 2 ** (shapes[at]! & 127),
    root: rootOf(shapes[at]!),
    digest: digests[at],
    parent: parents[at],
    source: sources[at],
    origin: origins[at],
    readBytes: read[at],
    changedBytes: changed[at],
    storedBytes: stored[at],
    unreadable: unreadable[at],
    tags: tags[at],
    held: (flags[at]! & 2) !== 0,
    copyOf: originals[at],
  }));
  return { ...fields, snapshots };
}
