/** The log, as docs/format.md describes it: what its entries and checkpoints amount to. */
import assert from 'node:assert/strict';

// biome-ignore lint/suspicious/noExplicitAny: a reader of JSON has its fields from the document
type Json = any;

export type LogAccess = {
  /** Undefined if the object is not there. */
  entry(key: string): { json: Json; hash: string } | undefined;
  /** With its snapshots as they are. */
  checkpoint(key: string): Json;
  /** What is sealed in an encrypted repository. */
  snapshot(stored: Json): Json;
  tags(entry: Json): Json;
  met(part: string): void;
};

const nameOf = (folder: string, sequence: number) =>
  `${folder}/${String(sequence).padStart(16, '0')}`;

export class LogContent {
  readonly #access: LogAccess;
  sequence = 0;
  head = '0'.repeat(64);
  generation = 0;
  readonly snapshots = new Map<string, Json>();
  readonly loose = new Set<string>();
  readonly segments = new Set<string>();
  readonly condemned = new Set<string>();

  constructor(access: LogAccess, fromCheckpoint: number) {
    this.#access = access;
    if (fromCheckpoint > 0) this.#checkpoint(fromCheckpoint);
    for (;;) {
      const found = access.entry(nameOf('log', this.sequence + 1));
      if (found === undefined) break;
      this.#entry(found.json);
      this.head = found.hash;
    }
  }

  #checkpoint(sequence: number): void {
    const state = this.#access.checkpoint(nameOf('checkpoints', sequence));
    assert.equal(state.sequence, sequence);
    this.#access.met('checkpoint');
    if (state.since !== undefined) {
      this.#access.met('checkpoint since another');
      this.#checkpoint(state.since);
      assert.equal(this.head, state.sinceHead);
      for (const id of state.forgotten) this.snapshots.delete(id);
    }
    this.sequence = sequence;
    this.head = state.head;
    this.generation = state.generation;
    for (const snapshot of state.snapshots) this.snapshots.set(snapshot.id, snapshot);
    for (const set of [this.loose, this.segments, this.condemned]) set.clear();
    for (const id of state.loosePacks) this.loose.add(id);
    for (const { id } of state.segments) this.segments.add(id);
    for (const { id } of state.condemned ?? []) this.condemned.add(id);
  }

  #copy({ id, copyOf }: Json): void {
    assert.match(copyOf, /^[0-9a-f]{32}$/);
    assert.notEqual(copyOf, id);
    this.#access.met('copy');
  }

  #entry(entry: Json): void {
    const isStep = entry.type === 'generation';
    assert.equal(entry.sequence, this.sequence + 1);
    assert.equal(entry.previous, this.head);
    assert.equal(entry.generation, this.generation + (isStep ? 1 : 0));
    this.sequence = entry.sequence;
    this.generation = entry.generation;
    this.#access.met(`entry ${entry.type}`);
    if (entry.type === 'snapshot') {
      const snapshot = this.#access.snapshot(entry.snapshot);
      this.snapshots.set(snapshot.id, snapshot);
      if (snapshot.copyOf !== undefined) this.#copy(snapshot);
    }
    if (entry.type === 'forget') for (const id of entry.snapshots) this.snapshots.delete(id);
    if (entry.type === 'hold') {
      this.#change(entry, (snapshot) => ({ ...snapshot, held: entry.held }));
    }
    if (entry.type === 'tag') this.#tag(entry);
    if (isStep) {
      for (const id of entry.condemned) this.condemned.add(id);
      for (const id of [...entry.spared, ...entry.dropped]) this.condemned.delete(id);
      for (const id of entry.dropped) this.loose.delete(id);
    }
    const { index = {} } = entry;
    for (const id of index.packs ?? []) this.loose.add(id);
    for (const id of index.packsDropped ?? []) this.loose.delete(id);
    for (const { id } of index.segments ?? []) this.segments.add(id);
    for (const id of index.segmentsDropped ?? []) this.segments.delete(id);
  }

  #tag(entry: Json): void {
    const { added, removed } = this.#access.tags(entry);
    this.#change(entry, (snapshot) => {
      const kept = (snapshot.tags ?? []).filter((tag: string) => !removed.includes(tag));
      return { ...snapshot, tags: [...new Set([...kept, ...added])].sort() };
    });
  }

  #change(entry: Json, change: (snapshot: Json) => Json): void {
    for (const id of entry.snapshots) {
      const snapshot = this.snapshots.get(id);
      if (snapshot !== undefined) this.snapshots.set(id, change(snapshot));
    }
  }
}
