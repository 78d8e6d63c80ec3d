/** What two repositories have in common: which snapshots of one are in the other already. */
import { originalId, type Repository, type Snapshot } from '../../store/index.ts';

/** The copies of one volume's snapshots, as the destination is when this is asked for. */
export class History {
  /** Of the source, oldest first. */
  readonly own: readonly Snapshot[];
  /** Of the destination. */
  readonly #theirs: Snapshot[];
  readonly #places: ReadonlyMap<string, number>;
  readonly #byOriginal = new Map<string, Snapshot>();
  readonly #byFacts = new Map<string, Snapshot>();

  constructor(source: Repository, destination: Repository, volume: string) {
    this.own = source.snapshots(volume);
    this.#places = new Map(this.own.map(({ id }, at) => [id, at]));
    this.#theirs = destination.snapshots(volume);
    for (const snapshot of this.#theirs) this.#note(snapshot);
  }

  #note(snapshot: Snapshot): void {
    this.#byOriginal.set(originalId(snapshot), snapshot);
    this.#byFacts.set(factsOf(snapshot), snapshot);
  }

  /** One more is there now. */
  add(copy: Snapshot): void {
    this.#theirs.push(copy);
    this.#note(copy);
  }

  /** What the volume holds at the destination. */
  get newest(): Snapshot | undefined {
    return this.#theirs.at(-1);
  }

  /** The copy of the snapshot, or what both are copies of. */
  copyOf(snapshot: Snapshot): Snapshot | undefined {
    const found = this.#byOriginal.get(originalId(snapshot));
    // An id that a program did not keep, when it wrote a checkpoint without knowing of it.
    return found?.digest === snapshot.digest ? found : this.#byFacts.get(factsOf(snapshot));
  }

  /** The place among `own` of the newest that is there; -1 if none is. */
  get newestThere(): number {
    return this.own.findLastIndex((snapshot) => this.copyOf(snapshot) !== undefined);
  }

  /** A snapshot that both have, the nearest before this one if there is one, with its copy. */
  baseOf({ id }: Snapshot): { base: Snapshot; copy: Snapshot } | undefined {
    const at = this.#places.get(id) ?? this.own.length;
    for (let before = at - 1; before >= 0; before--) {
      const pair = this.#pairAt(before);
      if (pair !== undefined) return pair;
    }
    for (let after = at + 1; after < this.own.length; after++) {
      const pair = this.#pairAt(after);
      if (pair !== undefined) return pair;
    }
    return undefined;
  }

  #pairAt(at: number): { base: Snapshot; copy: Snapshot } | undefined {
    const base = this.own[at]!;
    const copy = this.copyOf(base);
    return copy?.sizeBytes === base.sizeBytes ? { base, copy } : undefined;
  }

  /** Whether the volume there is about the same source, or there is none yet. */
  get isSameVolume(): boolean {
    const { newest } = this;
    if (newest === undefined || this.newestThere >= 0) return true;
    return this.own.some(({ origin }) => origin === newest.origin);
  }
}

function factsOf({ time, sizeBytes, digest, origin }: Snapshot): string {
  return JSON.stringify([time, sizeBytes, digest, origin]);
}
