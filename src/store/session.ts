/**
 * Sessions: what a writer has stored before it commits, so that the next one takes it up if this
 * one is cut off, and garbage collection knows what is being written.
 */
import { type Env, EnvError, hasCode, type Timer, toHex } from '../core/index.ts';
import { ObjectError, type ObjectStore, type StoreLock } from '../objects/index.ts';
import { StoreError } from './errors.ts';
import { JsonFields } from './json.ts';
import { SESSION_BEAT_MS, SMALL_OBJECT_BYTES_MAX } from './limits.ts';
import { type SealedObjects, type Sealer, sealJsonObject, unsealJsonObject } from './sealer.ts';
import { type Snapshot, snapshotFromJson, snapshotToJson } from './snapshot.ts';

export type SessionState = {
  readonly writer: string;
  /** Empty for garbage collection, whose packs nobody takes up. */
  readonly volume: string;
  /** The generation of garbage collection in which the writer began. */
  readonly generation: number;
  /** The writer holds a lock of its name while it lives; otherwise its objects keep changing. */
  readonly locked: boolean;
  /** Packs that it sealed, and perhaps one that it is about to seal. */
  readonly packs: readonly string[];
  /** For a pin: what is being read, wherever the log says of it meanwhile. */
  readonly snapshots?: readonly Snapshot[];
  /** For a pin: finds copies again when their packs go, so that no step waits for it. */
  readonly follows?: boolean;
};

/** What a reader announces instead of packs. */
export type Pin = Required<Pick<SessionState, 'snapshots' | 'follows'>>;

export type SessionFolder = 'sessions/' | 'pins/';

/** Packs that one object names; the next ones get another. */
const PACKS_PER_OBJECT = 64;

/** A writer's own session: immutable objects, each naming the packs since the last full one. */
export class Session implements AsyncDisposable {
  readonly writer: string;
  #generation: number;
  readonly #env: Env;
  readonly #objects: SealedObjects;
  readonly #volume: string;
  readonly #pin: Pin | undefined;
  readonly packs: string[] = [];
  readonly #keys = new Set<string>();
  #lock: StoreLock | undefined;
  #timer: Timer | undefined;
  #beats = 0;
  #over = false;
  /** Objects are put one after the other. */
  #tail: Promise<void> = Promise.resolve();

  private constructor(
    env: Env,
    objects: SealedObjects,
    volume: string,
    generation: number,
    pin: Pin | undefined,
  ) {
    const id = new Uint8Array(16);
    env.random.fill(id);
    this.writer = toHex(id);
    this.#env = env;
    this.#objects = objects;
    this.#volume = volume;
    this.#pin = pin;
    this.#generation = generation;
  }

  get generation(): number {
    return this.#generation;
  }

  /** Announces a writer. Whoever collects garbage sees it before it relies on anything. */
  static async begin(
    env: Env,
    objects: SealedObjects,
    volume: string,
    generation: number,
    pin?: Pin,
  ): Promise<Session> {
    const session = new Session(env, objects, volume, generation, pin);
    session.#lock = await takeLock(objects, session.writer);
    try {
      await session.#put();
    } catch (error) {
      await session.#lock?.release();
      throw error;
    }
    if (session.#lock === undefined) session.#beatLater();
    return session;
  }

  /** Names a pack, before it is there. */
  async add(pack: string): Promise<void> {
    this.packs.push(pack);
    await this.#put();
  }

  /** From now on the writer relies on nothing that had been condemned by then. */
  async moveTo(generation: number): Promise<void> {
    this.#generation = generation;
    this.#beats++;
    await this.#put();
  }

  /** Names packs of another writer that are taken up. */
  async addAll(packs: readonly string[]): Promise<void> {
    for (const [at, pack] of packs.entries()) {
      this.packs.push(pack);
      const last = at === packs.length - 1;
      if (last || this.packs.length % PACKS_PER_OBJECT === 0) await this.#put();
    }
  }

  #put(): Promise<void> {
    const putting = this.#tail.then(() => this.#putNow());
    this.#tail = putting.catch(() => undefined);
    return putting;
  }

  async #putNow(): Promise<void> {
    if (this.#over) return;
    const count = this.packs.length;
    const first = Math.max(0, Math.floor((count - 1) / PACKS_PER_OBJECT) * PACKS_PER_OBJECT);
    const { sealer } = this.#objects;
    const state = {
      writer: this.writer,
      volume: this.#volume,
      generation: this.#generation,
      locked: this.#lock !== undefined,
      packs: this.packs.slice(first),
      ...(this.#pin !== undefined && {
        snapshots: this.#pin.snapshots.map((snapshot) => snapshotToJson(snapshot, sealer)),
        follows: this.#pin.follows,
      }),
    };
    const folder = this.#pin === undefined ? 'sessions/' : 'pins/';
    const key = sessionKey(folder, this.writer, count, this.#beats);
    const fields = sealer.hide(key, state, CLEAR_FIELDS);
    const bytes = sealJsonObject(sealer, 'session', key, fields);
    await this.#objects.putIfAbsent(key, bytes);
    // What is named by none of the full objects is named by this one.
    for (const old of this.#keys) {
      if (packsOf(old) > first || packsOf(old) === 0) {
        await this.#objects.remove(old);
        this.#keys.delete(old);
      }
    }
    this.#keys.add(key);
  }

  /** Where nothing can be locked, a change of names shows that the writer lives. */
  #beatLater(): void {
    const run = () => void this.#beat();
    this.#timer = this.#env.clock.after(SESSION_BEAT_MS, run, { keepsProcess: false });
  }

  async #beat(): Promise<void> {
    this.#beats++;
    await this.#put().catch(() => undefined); // The next one, or the next pack, may succeed.
    if (!this.#over) this.#beatLater();
  }

  /** The packs belong to the log now, or to nobody: nothing of the session stays. */
  async end(): Promise<void> {
    await this.#stop();
    for (const key of this.#keys) await this.#objects.remove(key);
    await this.#lock?.release();
  }

  async #stop(): Promise<void> {
    this.#over = true;
    this.#timer?.cancel();
    await this.#tail;
  }

  /** The writer is gone; its packs stay, for the next one to take up. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stop();
    await this.#lock?.release();
  }
}

async function takeLock(objects: ObjectStore, name: string): Promise<StoreLock | undefined> {
  try {
    return await objects.locks?.take(name);
  } catch (error) {
    // Some systems and file systems have no locks: then it goes without.
    if (error instanceof EnvError || error instanceof ObjectError) return undefined;
    throw error;
  }
}

/** Whether the writer lives, as far as a lock tells. */
export async function holdsLock(
  objects: ObjectStore,
  { writer, locked }: Pick<SessionState, 'writer' | 'locked'>,
): Promise<boolean> {
  if (!locked || objects.locks === undefined) return false;
  const lock = await objects.locks.take(writer);
  await lock?.release();
  return lock === undefined;
}

/** What a host sees of it. */
const CLEAR_FIELDS = ['writer', 'generation', 'locked', 'packs', 'snapshots', 'follows'];

function sessionKey(
  folder: SessionFolder,
  writer: string,
  packCount: number,
  beats: number,
): string {
  const key = `${folder}${writer}-${String(packCount).padStart(8, '0')}`;
  return beats === 0 ? key : `${key}-${String(beats).padStart(8, '0')}`;
}

/** How many packs the writer had when it made the object. */
function packsOf(key: string): number {
  return Number(key.split('-')[1]);
}

/** A session, from all its objects: packs in the order in which they were sealed. */
export type FoundSession = { readonly keys: readonly string[]; readonly state: SessionState };

/** A writer that goes on replaces its objects; who does so again and again is found in time. */
const LOOKS_MAX = 8;

/** Sessions that are there; what cannot be read is of no use, and no damage. */
export async function findSessions(
  objects: SealedObjects,
  folder: SessionFolder = 'sessions/',
): Promise<FoundSession[]> {
  for (let looks = 1; ; looks++) {
    const { found, isStale } = await look(objects, folder);
    if (!isStale || looks === LOOKS_MAX) return found;
  }
}

/** Stale: an object went between the listing and the reading, perhaps for a newer one. */
async function look(objects: SealedObjects, folder: SessionFolder) {
  const found = new Map<string, FoundSession>();
  let isStale = false;
  for await (const { key } of objects.list(folder)) {
    try {
      const bytes = await objects.get(key, SMALL_OBJECT_BYTES_MAX);
      const value = unsealJsonObject(objects.sealer, 'session', key, bytes);
      const state = parse(objects.sealer, key, new JsonFields(value, key));
      const before = found.get(state.writer) ?? { keys: [], state: { ...state, packs: [] } };
      // Only the newest object knows how far the writer has moved on.
      const isNewest = before.keys.every((other) => other < key);
      const packs = [...new Set([...before.state.packs, ...state.packs])];
      const keys = [...before.keys, key];
      found.set(state.writer, { keys, state: { ...(isNewest ? state : before.state), packs } });
    } catch (error) {
      if (hasCode(error, 'OBJECT_NOT_FOUND')) isStale = true;
      else if (!(error instanceof StoreError)) throw error;
    }
  }
  return { found: [...found.values()], isStale };
}

function parse(sealer: Sealer, key: string, stored: JsonFields): SessionState {
  const fields = sealer.reveal(key, stored, { volume: '' });
  return {
    writer: fields.hex('writer', 16),
    volume: fields.text('volume'),
    generation: fields.count('generation'),
    locked: fields.has('locked') ? fields.flag('locked') : false,
    packs: fields.hexes('packs', 32),
    ...(fields.has('snapshots') && {
      snapshots: fields.objects('snapshots').map((item) => snapshotFromJson(item, sealer)),
      follows: fields.flag('follows'),
    }),
  };
}
