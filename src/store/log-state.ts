/** What the log amounts to: the snapshots, and where their chunks are found. */
import { damagedObject } from './errors.ts';
import { JsonFields } from './json.ts';
import {
  type LogEntry,
  logKey,
  NO_PREVIOUS,
  type SegmentInfo,
  segmentFromJson,
} from './log-entry.ts';
import type { Sealer } from './sealer.ts';
import { type Snapshot, snapshotFromJson, snapshotToJson } from './snapshot.ts';

/** The fold of log entries 1 to `sequence`; changed in place as entries are read. */
export class LogState {
  sequence = 0;
  /** SHA-256 of the newest entry. */
  head = NO_PREVIOUS;
  generation = 0;
  /** In the order of the log. */
  readonly snapshots = new Map<string, Snapshot>();
  /** Packs that no segment covers. */
  readonly loosePacks = new Set<string>();
  readonly segments = new Map<string, SegmentInfo>();

  /** Adds the next entry, whose object hashes to `hash`. */
  apply(entry: LogEntry, hash: string): void {
    const key = logKey(this.sequence + 1);
    if (entry.sequence !== this.sequence + 1 || entry.previous !== this.head) {
      throw damagedObject(key, 'it does not follow the entry before it');
    }
    this.sequence = entry.sequence;
    this.head = hash;
    this.generation = Math.max(this.generation, entry.generation);
    this.snapshots.set(entry.snapshot.id, entry.snapshot);
    const { index } = entry;
    for (const pack of index.packs) this.loosePacks.add(pack);
    for (const pack of index.packsDropped) this.loosePacks.delete(pack);
    for (const segment of index.segments) this.segments.set(segment.id, segment);
    for (const segment of index.segmentsDropped) this.segments.delete(segment);
  }

  toJson(sealer: Sealer): unknown {
    return {
      sequence: this.sequence,
      head: this.head,
      generation: this.generation,
      snapshots: [...this.snapshots.values()].map((item) => snapshotToJson(item, sealer)),
      loosePacks: [...this.loosePacks],
      segments: [...this.segments.values()],
    };
  }

  static fromJson(value: unknown, key: string, sealer: Sealer): LogState {
    const fields = new JsonFields(value, key);
    const state = new LogState();
    state.sequence = fields.count('sequence');
    state.head = fields.hex('head', 32);
    state.generation = fields.count('generation');
    for (const item of fields.objects('snapshots')) {
      const snapshot = snapshotFromJson(item, sealer);
      state.snapshots.set(snapshot.id, snapshot);
    }
    for (const pack of fields.hexes('loosePacks', 32)) state.loosePacks.add(pack);
    for (const item of fields.objects('segments')) {
      const segment = segmentFromJson(item);
      state.segments.set(segment.id, segment);
    }
    return state;
  }
}
