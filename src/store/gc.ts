/**
 * Garbage collection: gives back what no snapshot needs, beside writers, readers and others of its
 * kind. Safety lies in the log alone; docs/internals/garbage-collection.md has the argument.
 */
import { defaultCompression } from '../codec/index.ts';
import { type Env, hasCode } from '../core/index.ts';
import { ObjectError } from '../objects/index.ts';
import type { ChunkIndex } from './chunk-index.ts';
import { ignoreObjectError, noPassword, StoreError } from './errors.ts';
import { indexWithout } from './gc-index.ts';
import { PatchParents } from './gc-parents.ts';
import { protectNamed } from './gc-parity.ts';
import { type Garbage, planGarbage } from './gc-plan.ts';
import { Repacker, type SparsePack } from './gc-repack.ts';
import { emptyReport, type GcOptions, type GcReport } from './gc-report.ts';
import { presentSessions } from './gc-sessions.ts';
import { similarPacks } from './gc-similar.ts';
import { GcSweep } from './gc-sweep.ts';
import { Verifier } from './gc-verify.ts';
import type { IndexSync } from './index-sync.ts';
import { PACK_TARGET_BYTES, SESSION_BEAT_MS } from './limits.ts';
import type { CommitLog } from './log.ts';
import { type IndexChange, NO_INDEX_CHANGE } from './log-entry.ts';
import type { LogState } from './log-state.ts';
import { packKey } from './pack-file.ts';
import { parityKey } from './parity-file.ts';
import { checkSession } from './reliance.ts';
import type { SealedObjects } from './sealer.ts';
import { segmentKey } from './segment.ts';
import { type FoundSession, findSessions, Session } from './session.ts';
import type { Snapshot } from './snapshot.ts';
import type { TreeReader } from './tree-reader.ts';

export type GcParts = {
  readonly env: Env;
  readonly objects: SealedObjects;
  readonly log: CommitLog;
  readonly sync: IndexSync;
  readonly reader: TreeReader;
};

/** How often a step is tried again when another run was faster. */
const ATTEMPTS_MAX = 5;

const WAIT_MS = 3 * SESSION_BEAT_MS;

export async function collectGarbage(parts: GcParts, options: GcOptions): Promise<GcReport> {
  await using run = new Collection(parts, options);
  if (options.similar === true && !run.canRewrite) throw noPassword('storing chunks anew');
  await run.all();
  if (options.dryRun !== true) await protectNamed(run);
  return run.report;
}

export class Collection implements AsyncDisposable {
  readonly parts: GcParts;
  readonly options: GcOptions;
  readonly parents: PatchParents;
  /** Our own sessions: nobody to wait for. */
  readonly own = new Set<string>();
  /** Pins that hold nothing. */
  readonly deadReaders = new Set<string>();
  #session: Session | undefined;
  readonly report = emptyReport();

  constructor(parts: GcParts, options: GcOptions) {
    this.parts = parts;
    this.options = options;
    this.parents = new PatchParents(parts.objects);
  }

  get index(): ChunkIndex {
    return this.parts.sync.index;
  }

  /** Without the key of an encrypted repository packs can only be dropped. */
  get canRewrite(): boolean {
    return this.parts.objects.sealer.mode !== 'blind';
  }

  get waitMs(): number {
    return this.options.waitMs ?? WAIT_MS;
  }

  progress(step: string, done: number): void {
    this.options.onProgress?.({ step, done });
  }

  /** What must stay: all snapshots of the log, and those that somebody reads although forgotten. */
  async roots(state: LogState): Promise<Snapshot[]> {
    const pins = await this.#pins();
    return [...state.snapshots.values(), ...pins.flatMap((pin) => pin.state.snapshots ?? [])];
  }

  /** Pins are looked for again and again: one whose reader was found dead once stays so. */
  async #pins(): Promise<FoundSession[]> {
    const found = await findSessions(this.parts.objects, 'pins/');
    return found.filter(({ state }) => !this.deadReaders.has(state.writer));
  }

  async all(): Promise<void> {
    const { log } = this.parts;
    await this.toNewest();
    const { dryRun = false } = this.options;
    if (!dryRun) await new GcSweep(this).all();
    // What an earlier run condemned comes first: there is one set of condemned packs at a time.
    if (log.state.condemned.size > 0 && !dryRun) await this.#drop();
    if (log.state.condemned.size > 0 && !dryRun) return;
    await this.#condemn(dryRun);
    if (log.state.condemned.size > 0 && !dryRun) await this.#drop();
  }

  /** The log, and the index with it, at what is newest. All segments must be there. */
  async toNewest(): Promise<void> {
    const { log } = this.parts;
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      await log.catchUp();
      const { generation } = log.state;
      try {
        return await this.syncTo(log.state);
      } catch (error) {
        if (!(await this.#hasPassed(generation, error))) throw error;
      }
    }
    throw busy();
  }

  async syncTo(state: LogState): Promise<void> {
    await this.parts.sync.to(state);
    for (const [key, error] of this.index.unreadable) {
      // Without a segment nobody knows which packs there are.
      if (error instanceof ObjectError || key.startsWith('index/')) throw error;
    }
  }

  /** Finds garbage, copies what is needed of sparse packs, and condemns both kinds. */
  async #condemn(dryRun: boolean): Promise<void> {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      await this.toNewest();
      const { state } = this.parts.log;
      if (state.condemned.size > 0) return; // Another run's: to be dropped first.
      const { generation } = state; // The state goes on in place when somebody reads the log.
      try {
        if (await this.#condemnAt(state, generation, dryRun)) return;
      } catch (error) {
        if (!(await this.#hasPassed(generation, error))) throw error;
      }
      await this.#removeCopies(); // They can only come into this log by our own hand.
    }
    throw busy();
  }

  /** False if another run was faster: everything must be looked at anew. */
  async #condemnAt(state: LogState, generation: number, dryRun: boolean): Promise<boolean> {
    const garbage = await planGarbage(this, state);
    this.report.deadPacks = garbage.dead.length;
    this.report.sparsePacks = garbage.sparse.length;
    this.report.wouldFreeBytes = garbage.freeBytes;
    this.report.similarChunks = 0;
    this.report.similarBytes = 0;
    if (dryRun) {
      await this.#estimate(garbage);
      return true;
    }
    const packs = await this.#repack(garbage);
    return this.#commitCondemned(generation, garbage, packs);
  }

  /** Whether another generation, begun meanwhile, is why something is gone. STORE_FENCED. */
  async #hasPassed(generation: number, error: unknown): Promise<boolean> {
    if (!hasCode(error, 'STORE_MISSING')) return false;
    const { log } = this.parts;
    await log.catchUp();
    if (this.#session !== undefined) checkSession(log.state, this.#session, this.#session.packs);
    return log.state.generation !== generation;
  }

  /** Packs to be written anew, each when it is known what becomes of its chunks. */
  #rewritten(garbage: Garbage): AsyncIterable<SparsePack> | readonly SparsePack[] {
    return this.options.similar === true ? similarPacks(this, garbage) : [...garbage.sparse];
  }

  async #estimate(garbage: Garbage): Promise<void> {
    this.report.sparsePacks = 0;
    for await (const _pack of this.#rewritten(garbage)) this.report.sparsePacks++;
    this.report.wouldFreeBytes += this.report.similarBytes;
  }

  async #repack(garbage: Garbage): Promise<readonly string[]> {
    const { env, objects } = this.parts;
    await using repacker = new Repacker({
      objects,
      index: this.index,
      random: env.random,
      compression: defaultCompression,
      packTargetBytes: this.options.packTargetBytes ?? PACK_TARGET_BYTES,
      announce: async (pack) => (await this.#ownSession()).add(pack),
      onProgress: (done) => this.progress('copying', done),
      signal: this.options.signal,
    });
    try {
      const rewritten: SparsePack[] = [];
      for await (const sparse of this.#rewritten(garbage)) {
        rewritten.push(sparse);
        await repacker.copy(sparse);
      }
      await repacker.finish();
      garbage.sparse.splice(0, Infinity, ...rewritten);
    } catch (error) {
      if (!hasCode(error, 'OBJECT_NO_SPACE')) throw error;
      // What nothing is needed of can still go, and makes room for the next run.
      this.report.noSpace = true;
      this.report.similarChunks = 0;
      this.report.similarBytes = 0;
      await this.#removeCopies();
      garbage.sparse.length = 0;
      return [];
    }
    this.report.sparsePacks = garbage.sparse.length;
    this.report.copiedBytes += repacker.storedBytes;
    return repacker.packs;
  }

  async #ownSession(): Promise<Session> {
    if (this.#session === undefined) {
      const { env, objects, log } = this.parts;
      this.#session = await Session.begin(env, objects, '', log.state.generation);
      this.own.add(this.#session.writer);
    }
    return this.#session;
  }

  async #removeCopies(): Promise<void> {
    for (const pack of this.#session?.packs ?? []) {
      if (!this.index.uncommitted.has(pack)) continue;
      this.index.dropPack(pack);
      await this.parts.objects.remove(packKey(pack));
    }
  }

  async #commitCondemned(
    generation: number,
    garbage: Garbage,
    packs: readonly string[],
  ): Promise<boolean> {
    const candidates = [...garbage.dead, ...garbage.sparse.map(({ packId }) => packId)];
    if (candidates.length === 0) return true;
    const verifier = new Verifier(this, new Set(candidates));
    return this.#append(generation, async (state) => {
      if (this.#session !== undefined) checkSession(state, this.#session, packs);
      await verifier.check(state, packs);
      const condemned = candidates.filter((pack) => !verifier.spared.has(pack));
      const index: IndexChange = { ...NO_INDEX_CHANGE, packs };
      const done = () => {
        for (const pack of packs) this.index.uncommitted.delete(pack);
        this.report.newPacks += packs.length;
      };
      return { condemned, spared: [], dropped: [], index, done };
    });
  }

  /** Takes condemned packs out of the repository, if no writer is left that may rely on them. */
  async #drop(): Promise<void> {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      await this.toNewest();
      const { state } = this.parts.log;
      if (state.condemned.size === 0) return; // Another run has done it.
      if (await this.#isHindered(state)) return;
      if (await this.#commitDropped(state.generation, [...state.condemned.keys()])) return;
    }
    throw busy();
  }

  async #isHindered(state: LogState): Promise<boolean> {
    const { env, objects } = this.parts;
    const since = Math.min(...state.condemned.values());
    const { alive } = await presentSessions(env, objects, this.own, this.waitMs);
    const readers = (await this.#pins()).filter((pin) => pin.state.follows === false);
    const waiting = [...alive, ...readers].filter((each) => each.state.generation < since);
    this.report.waitingFor = waiting.map(({ state: { volume, writer, snapshots } }) => ({
      kind: snapshots !== undefined ? 'reader' : volume === '' ? 'gc' : 'backup',
      volume: snapshots?.[0]?.volume ?? volume,
      writer,
    }));
    this.report.condemnedPacks = waiting.length > 0 ? state.condemned.size : 0;
    return waiting.length > 0;
  }

  async #commitDropped(generation: number, condemned: readonly string[]): Promise<boolean> {
    const { env, objects, sync } = this.parts;
    const verifier = new Verifier(this, new Set(condemned));
    let removed: string[] = [];
    const committed = await this.#append(generation, async (state) => {
      await verifier.check(state, []);
      const spared = condemned.filter((pack) => verifier.spared.has(pack));
      const dropped = condemned.filter((pack) => !verifier.spared.has(pack));
      const index = await indexWithout(objects, env.random, sync, state, new Set(dropped));
      const done = () => {
        this.report.droppedPacks += dropped.length;
        this.report.sparedPacks += spared.length;
        removed = [...dropped.map(parityKey), ...dropped.map(packKey)];
        removed.push(...index.segmentsDropped.map(segmentKey));
      };
      return { condemned: [], spared, dropped, index, done };
    });
    if (committed) await this.removeObjects(removed);
    return committed;
  }

  /** Commits a step that was made for this generation; false if that has passed. */
  async #append(generation: number, make: (state: LogState) => Promise<Step>): Promise<boolean> {
    const { log, sync } = this.parts;
    let step: Step | undefined;
    try {
      await log.append(async (state) => {
        if (state.generation !== generation) throw new Passed();
        const { done: _done, ...change } = await make(state).then((made) => {
          step = made;
          return made;
        });
        return { type: 'generation', ...change, generation: generation + 1 };
      });
    } catch (error) {
      if (error instanceof Passed || (await this.#hasPassed(generation, error))) return false;
      throw error;
    }
    step!.done();
    await sync.to(log.state);
    return true;
  }

  /** Best effort: what stays is found, and removed, by the next run. */
  async removeObjects(keys: readonly string[]): Promise<void> {
    const { objects } = this.parts;
    for (const [at, key] of keys.entries()) {
      this.options.signal?.throwIfAborted();
      try {
        const sizeBytes = await objects.size(key);
        await objects.remove(key);
        this.report.freedBytes += sizeBytes;
      } catch (error) {
        if (!hasCode(error, 'OBJECT_NOT_FOUND')) throw error;
      }
      this.progress('removing', at + 1);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { log } = this.parts;
    // What was not committed is removed by whoever finds the session dead.
    const committed = this.#session?.packs.every((pack) => !this.index.uncommitted.has(pack));
    for (const pack of this.#session?.packs ?? []) {
      if (this.index.uncommitted.has(pack)) this.index.dropPack(pack);
    }
    if (committed === true) await this.#session?.end().catch(ignoreObjectError);
    await this.#session?.[Symbol.asyncDispose]();
    this.index.setCondemned(log.state.condemned.keys());
  }
}

type Step = {
  readonly condemned: readonly string[];
  readonly spared: readonly string[];
  readonly dropped: readonly string[];
  readonly index: IndexChange;
  /** To be called when the step is committed. */
  done(): void;
};

/** Another run of garbage collection has begun a generation meanwhile. */
class Passed extends Error {}

function busy(): StoreError {
  return new StoreError('STORE_BUSY', 'other runs of garbage collection were always faster', {
    hint: 'Nothing is lost; run `ferry gc` again when the other has ended.',
  });
}
