/** What the log amounts to: the snapshots, where their chunks are found, what gc condemned. */
import { damagedObject } from './errors.ts';
import type { JsonFields } from './json.ts';
import { GENERATIONS_BEHIND_MAX } from './limits.ts';
import {
  type IndexChange,
  type LogEntry,
  logKey,
  NO_PREVIOUS,
  parityFrom,
  type SegmentInfo,
  segmentFromJson,
} from './log-entry.ts';
import type { PlainFields } from './sealer.ts';
import { SNAPSHOT_ID_BYTES, type Snapshot } from './snapshot.ts';

/** A place in the log: an entry, and its SHA-256 in hexadecimal. */
export type Mark = { readonly sequence: number; readonly head: string };

const START: Mark = { sequence: 0, head: NO_PREVIOUS };

/** What one checkpoint says: snapshots that are new or changed, and everything else. */
export type SaidState = { readonly fields: JsonFields; readonly snapshots: readonly Snapshot[] };

/** The fold of log entries 1 to `sequence`; changed in place as entries are read. */
export class LogState {
  sequence = 0;
  /** SHA-256 of the newest entry. */
  head = NO_PREVIOUS;
  generation = 0;
  /** Snapshots miss chunks: nothing may be taken for there because a manifest names it. */
  lossy = false;
  /** Parity stripes that packs get for a hundred of theirs; 0 for none. */
  parityPercent = 0;
  /** In the order of the log. */
  readonly snapshots = new Map<string, Snapshot>();
  /** Packs that no segment covers. */
  readonly loosePacks = new Set<string>();
  readonly segments = new Map<string, SegmentInfo>();
  /** Packs that are there and must not be relied upon, with the generation that began so. */
  readonly condemned = new Map<string, number>();
  /** Sessions, packs and segments that are never to be committed, with the generation then. */
  readonly fencedSessions = new Map<string, number>();
  readonly fencedObjects = new Map<string, number>();
  /** Checkpoints that are known to be there, ascending, each standing on the one before. */
  readonly checkpoints: Mark[] = [];
  /**
   * When each snapshot was last changed, unless the oldest checkpoint already has it so, and when
   * those that are gone were forgotten.
   */
  readonly #changedAt = new Map<string, number>();
  readonly #forgottenAt = new Map<string, number>();

  /** Adds the next entry, whose object hashes to `hash`. */
  apply(entry: LogEntry, hash: string): void {
    const key = logKey(this.sequence + 1);
    if (entry.sequence !== this.sequence + 1 || entry.previous !== this.head) {
      throw damagedObject(key, 'it does not follow the entry before it');
    }
    const step = entry.type === 'generation' ? 1 : 0;
    if (entry.generation !== this.generation + step) {
      throw damagedObject(key, `it is of generation ${entry.generation}`);
    }
    this.sequence = entry.sequence;
    this.head = hash;
    this.generation = entry.generation;
    this.#change(entry);
  }

  #change(entry: LogEntry): void {
    switch (entry.type) {
      case 'snapshot':
        this.#put(entry.snapshot);
        this.#changeIndex(entry.index);
        break;
      case 'index':
        this.lossy = entry.lossy ?? this.lossy;
        this.parityPercent = entry.parity ?? this.parityPercent;
        this.#changeIndex(entry.index);
        break;
      case 'forget':
        for (const id of entry.snapshots) this.#forget(id, this.sequence);
        break;
      case 'hold':
        this.#each(entry.snapshots, (snapshot) => ({ ...snapshot, held: entry.held }));
        break;
      case 'tag': {
        const { added, removed } = entry;
        this.#each(entry.snapshots, (snapshot) => {
          const kept = snapshot.tags.filter((tag) => !removed.includes(tag));
          return { ...snapshot, tags: [...new Set([...kept, ...added])].sort() };
        });
        break;
      }
      case 'fence':
        for (const session of entry.sessions) this.fencedSessions.set(session, this.generation);
        for (const object of entry.objects) this.fencedObjects.set(object, this.generation);
        break;
      case 'generation':
        for (const pack of entry.condemned) this.condemned.set(pack, this.generation);
        for (const pack of [...entry.spared, ...entry.dropped]) this.condemned.delete(pack);
        this.#changeIndex(entry.index);
        for (const pack of entry.dropped) this.loosePacks.delete(pack);
        // What is of the repository no longer may be removed at any time, and must not come back.
        for (const id of [...entry.dropped, ...entry.index.segmentsDropped]) {
          this.fencedObjects.set(id, this.generation);
        }
        this.#forgetFences();
        break;
    }
  }

  #put(snapshot: Snapshot): void {
    this.snapshots.set(snapshot.id, snapshot);
    this.#changedAt.set(snapshot.id, this.sequence);
  }

  #each(ids: readonly string[], change: (snapshot: Snapshot) => Snapshot): void {
    for (const id of ids) {
      const snapshot = this.snapshots.get(id);
      if (snapshot !== undefined) this.#put(change(snapshot));
    }
  }

  #forget(id: string, sequence: number): void {
    this.snapshots.delete(id);
    this.#changedAt.delete(id);
    this.#forgottenAt.set(id, sequence);
  }

  #changeIndex(index: IndexChange): void {
    for (const pack of index.packs) this.loosePacks.add(pack);
    for (const pack of index.packsDropped) this.loosePacks.delete(pack);
    for (const segment of index.segments) this.segments.set(segment.id, segment);
    for (const segment of index.segmentsDropped) this.segments.delete(segment);
  }

  /** A session so far behind is refused for its age: see `checkSession`. */
  #forgetFences(): void {
    for (const fences of [this.fencedSessions, this.fencedObjects]) {
      for (const [id, generation] of fences) {
        if (generation + GENERATIONS_BEHIND_MAX < this.generation) fences.delete(id);
      }
    }
  }

  /** A checkpoint of the present state is there; it stands on `base`. */
  noteCheckpoint(base: Mark | undefined): void {
    const kept = base === undefined ? 0 : this.checkpoints.indexOf(base) + 1;
    this.checkpoints.length = kept;
    this.checkpoints.push({ sequence: this.sequence, head: this.head });
    const oldest = this.checkpoints[0]!.sequence;
    for (const [id, sequence] of this.#forgottenAt) {
      if (sequence <= oldest) this.#forgottenAt.delete(id);
    }
  }

  /** All of it, or with `base` only what a reader of that checkpoint does not know. */
  said(base: Mark = START): { readonly fields: PlainFields; readonly snapshots: Snapshot[] } {
    const changed = [...this.snapshots.values()].filter(
      ({ id }) => base === START || (this.#changedAt.get(id) ?? 0) > base.sequence,
    );
    const forgotten = [...this.#forgottenAt].flatMap(([id, at]) =>
      at > base.sequence ? [id] : [],
    );
    const fences = (fenced: ReadonlyMap<string, number>) =>
      [...fenced].map(([id, generation]) => ({ id, generation }));
    const fields = {
      sequence: this.sequence,
      head: this.head,
      generation: this.generation,
      ...(this.lossy && { lossy: true }),
      ...(this.parityPercent > 0 && { parity: this.parityPercent }),
      ...(base !== START && { since: base.sequence, sinceHead: base.head, forgotten }),
      loosePacks: [...this.loosePacks],
      segments: [...this.segments.values()],
      ...(this.condemned.size > 0 && { condemned: fences(this.condemned) }),
      ...(this.fencedSessions.size > 0 && { fencedSessions: fences(this.fencedSessions) }),
      ...(this.fencedObjects.size > 0 && { fencedObjects: fences(this.fencedObjects) }),
    };
    return { fields, snapshots: changed };
  }

  /** Which checkpoint this one stands on: the number of its entry, 0 if on none. */
  static baseOf({ fields }: SaidState): number {
    return fields.has('since') ? fields.count('since') : 0;
  }

  /** Becomes what the checkpoint `key` says, from the state of the one that it stands on. */
  adopt({ fields, snapshots }: SaidState, key: string): void {
    if (fields.has('since')) {
      const since = { sequence: fields.count('since'), head: fields.hex('sinceHead', 32) };
      if (since.sequence !== this.sequence || since.head !== this.head) {
        throw damagedObject(key, 'it does not follow the checkpoint that it names');
      }
    }
    this.sequence = fields.count('sequence');
    this.head = fields.hex('head', 32);
    this.generation = fields.count('generation');
    this.lossy = fields.has('lossy') && fields.flag('lossy');
    this.parityPercent = fields.has('parity') ? parityFrom(fields) : 0;
    if (fields.has('forgotten')) {
      for (const id of fields.hexes('forgotten', SNAPSHOT_ID_BYTES)) {
        this.#forget(id, this.sequence);
      }
    }
    const isOldest = this.checkpoints.length === 0;
    for (const snapshot of snapshots) {
      if (isOldest) this.snapshots.set(snapshot.id, snapshot);
      else this.#put(snapshot);
    }
    this.#readIndex(fields);
    this.checkpoints.push({ sequence: this.sequence, head: this.head });
  }

  #readIndex(fields: JsonFields): void {
    this.loosePacks.clear();
    this.segments.clear();
    for (const pack of fields.hexes('loosePacks', 32)) this.loosePacks.add(pack);
    for (const item of fields.objects('segments')) {
      const segment = segmentFromJson(item);
      this.segments.set(segment.id, segment);
    }
    const read = (name: string, idBytes: number, into: Map<string, number>) => {
      into.clear();
      for (const item of fields.has(name) ? fields.objects(name) : []) {
        into.set(item.hex('id', idBytes), item.count('generation'));
      }
    };
    read('condemned', 32, this.condemned);
    read('fencedSessions', 16, this.fencedSessions);
    read('fencedObjects', 32, this.fencedObjects);
  }
}
