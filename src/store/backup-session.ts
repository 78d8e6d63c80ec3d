/** One writer's way from nothing to a committed snapshot. */
import { type CodecPool, type Compression, defaultCompression } from '../codec/index.ts';
import { type Env, FerryError, toHex } from '../core/index.ts';
import { ObjectError } from '../objects/index.ts';
import { type Adopted, adoptPacks } from './adoption.ts';
import type { ChunkIndex } from './chunk-index.ts';
import { damagedObject, StoreError } from './errors.ts';
import { FrameBuilder } from './frame-builder.ts';
import type { Geometry } from './geometry.ts';
import { indexChange, type Merge, mergeIfNeeded } from './index-maintenance.ts';
import type { CommitLog } from './log.ts';
import type { LogState } from './log-state.ts';
import { packKey } from './pack-file.ts';
import { protectPacks } from './parity.ts';
import { checkSession, storeCondemnedAgain } from './reliance.ts';
import type { Relied } from './relied.ts';
import type { SealedObjects } from './sealer.ts';
import type { Session } from './session.ts';
import {
  checkTag,
  originalId,
  SNAPSHOT_ID_BYTES,
  type Snapshot,
  treeOf,
  type UnreadableExtent,
} from './snapshot.ts';
import { SnapshotWriter } from './snapshot-writer.ts';
import type { TreeReader } from './tree-reader.ts';
import { TreeWriter } from './tree-writer.ts';

export type BackupOptions = {
  readonly volume: string;
  readonly sizeBytes: number;
  /** What most of the content is like; the newest snapshot of the volume as a rule. */
  readonly parent: Snapshot | undefined;
  readonly pool: CodecPool;
  /** `raw` stores no patches either. What is there already stays as it is. */
  readonly compression?: Compression;
  readonly packTargetBytes?: number;
  /** All content is put, not only what may have changed. */
  readonly isWhole?: boolean;
};

/** What only the caller knows about the snapshot. */
export type CommitFacts = {
  readonly source: string;
  readonly origin: string;
  readonly readBytes: number;
  readonly unreadable: readonly UnreadableExtent[];
  readonly tags?: readonly string[];
  /** What the content must be: STORE_DIGEST if it is not, and nothing is committed. */
  readonly expectedDigest?: string | undefined;
  /** Of a copy: what it is where it comes from; its digest must be that of the content too. */
  readonly original?: Original;
};

export type Original = Required<Pick<Snapshot, 'copyOf' | 'time' | 'held' | 'digest'>>;

export type StoreParts = {
  readonly env: Env;
  readonly objects: SealedObjects;
  readonly index: ChunkIndex;
  /** Brings the index to the present state of the log. */
  sync(): Promise<void>;
  readonly log: CommitLog;
  readonly reader: TreeReader;
  readonly chunkBytes: number;
  /** That of the log when the index was loaded: others may have read on in it since. */
  readonly generation: number;
};

export class BackupSession implements AsyncDisposable {
  readonly #parts: StoreParts;
  readonly #options: BackupOptions;
  readonly #session: Session;
  readonly #builder: FrameBuilder;
  readonly writer: SnapshotWriter;
  readonly #adopted: Adopted;
  /** Bytes of packs that were sealed. */
  storedBytes = 0;
  /** Why packs of the committed snapshot have no parity, although they should. */
  parityTrouble: FerryError | undefined;

  readonly #ended: () => void;
  /** The generation in whose state everything relied on is there to stay, or UNKNOWN. */
  #generation: number;
  /** The last merge of the index that was prepared, and for what. */
  #merge: { readonly packs: number; readonly merge: Merge | undefined } | undefined;
  /** Packs were condemned that go only once nothing here relies on them. */
  #isWaitedFor = false;
  #committed = false;

  private constructor(
    parts: StoreParts,
    options: BackupOptions,
    session: Session,
    adopted: Adopted,
    ended: () => void,
  ) {
    const { env, objects, index, reader, chunkBytes } = parts;
    this.#parts = parts;
    this.#options = options;
    this.#session = session;
    this.#adopted = adopted;
    this.#ended = ended;
    const { snapshots } = parts.log.state;
    const forgotten = options.parent !== undefined && !snapshots.has(options.parent.id);
    this.#generation = forgotten ? UNKNOWN : parts.generation;
    const geometry: Geometry = { sizeBytes: options.sizeBytes, chunkBytes };
    const parent = options.parent && treeOf(options.parent);
    const tree = new TreeWriter({
      geometry,
      parent,
      reader,
      signing: objects.sealer.treeSigning,
      emit: (record, id, checksum) => this.#builder.addTree(record, id, checksum),
    });
    const { compression = defaultCompression } = options;
    const patches = parent !== undefined && compression.algorithm !== 'raw';
    this.#builder = new FrameBuilder({
      objects,
      index,
      pool: options.pool,
      random: env.random,
      compression,
      holdFrames: patches,
      ...(options.packTargetBytes !== undefined && { packTargetBytes: options.packTargetBytes }),
      beforeSeal: () => tree.flush(),
      announce: (id) => this.#session.add(id),
      afterSeal: async ({ sizeBytes }) => {
        this.storedBytes += sizeBytes;
        await this.#look();
      },
    });
    this.writer = new SnapshotWriter({
      geometry,
      parent,
      reader,
      index,
      builder: this.#builder,
      tree,
      pool: options.pool,
      signing: objects.sealer.chunkSigning,
      patches,
      isWhole: options.isWhole ?? false,
      wantsRest: () => this.#isWaitedFor,
      rested: (relied) => this.#moveOn(relied),
    });
  }

  /**
   * Begins in a session that is announced already; what cut-off writers of the same volume have
   * stored is found, not stored again. The parts are at the newest state of the log.
   */
  static async begin(
    parts: StoreParts,
    options: BackupOptions,
    session: Session,
    ended: () => void,
  ): Promise<BackupSession> {
    const adopted = await adoptPacks(parts, options.volume, session.writer);
    await session.addAll(adopted.packs);
    return new BackupSession(parts, options, session, adopted, ended);
  }

  /** How many packs of earlier, cut-off runs are taken up: worth telling a person. */
  get adoptedPacks(): number {
    return this.#adopted.packs.length;
  }

  /** At each pack: a run that can come to nothing any more ends now, and not at its commit. */
  async #look(): Promise<void> {
    const { log, sync } = this.#parts;
    const before = log.state.generation;
    await log.catchUp();
    checkSession(log.state, this.#session, this.#session.packs);
    if (log.state.generation === before) return;
    await sync();
    const since = Math.max(...log.state.condemned.values());
    this.#isWaitedFor = since > this.#session.generation;
  }

  /**
   * Moves the session on to the newest generation. Everything taken in so far is stored, so what of
   * it lies only in condemned packs is known, and is stored again. What it shares with its parent
   * lies elsewhere too as long as the log has that.
   */
  async #moveOn(relied: Relied): Promise<void> {
    const { objects, index, reader, log, sync } = this.#parts;
    this.#isWaitedFor = false;
    await log.catchUp();
    const { generation, snapshots } = log.state;
    checkSession(log.state, this.#session, this.#session.packs);
    const { parent } = this.#options;
    if (parent !== undefined && !snapshots.has(parent.id)) return;
    await sync();
    await storeCondemnedAgain({
      ...{ objects, index, reader, builder: this.#builder },
      needed: await relied.condemned(),
      packs: this.#added(),
    });
    await this.#session.moveTo(generation);
  }

  /** Makes the snapshot part of the log. The whole volume must have been put. */
  async commit(wanted: CommitFacts): Promise<Snapshot> {
    const { tags = [], original, expectedDigest = original?.digest, ...facts } = wanted;
    const { env, index, log, chunkBytes } = this.#parts;
    const { volume, sizeBytes, parent } = this.#options;
    for (const tag of tags) checkTag(tag);
    const { root, digest } = await this.writer.finish();
    checkDigest(volume, toHex(digest), expectedDigest, original);
    const id = new Uint8Array(SNAPSHOT_ID_BYTES);
    env.random.fill(id);
    const snapshot: Snapshot = {
      id: toHex(id),
      volume,
      time: new Date(env.clock.wallMs()).toISOString(),
      sizeBytes,
      chunkBytes,
      root,
      digest: toHex(digest),
      parent: parent?.id,
      changedBytes: this.writer.stats.changedBytes,
      storedBytes: this.storedBytes,
      ...facts,
      tags: [...new Set(tags)].sort(),
      held: false,
      ...original,
    };
    await log.append(async (state) => {
      if (original !== undefined) checkFirst(state, volume, original);
      await this.#settle(state, snapshot);
      const added = this.#added();
      checkSession(state, this.#session, added);
      const merge = await this.#merged(state, added);
      const change = indexChange(state, added, merge);
      return { type: 'snapshot', snapshot, index: change, generation: state.generation };
    });
    this.#committed = true;
    for (const pack of this.#added()) index.uncommitted.delete(pack);
    await this.#cleanUp();
    await this.#protect();
    return snapshot;
  }

  /** The snapshot is there whether this works or not: garbage collection makes what is missing. */
  async #protect(): Promise<void> {
    const { objects, log } = this.#parts;
    const percent = log.state.parityPercent;
    if (percent === 0) return;
    try {
      const { pool } = this.#options;
      const { damaged } = await protectPacks(objects, this.#added(), { percent, pool });
      const [first] = damaged;
      if (first === undefined) return;
      this.parityTrouble = damagedObject(packKey(first), 'it does not read as it was written');
    } catch (error) {
      if (!(error instanceof FerryError)) throw error;
      this.parityTrouble = error;
    }
  }

  /** Adopted packs come whole: a patch in one may stand on a chunk in another. */
  #added(): string[] {
    return [...new Set(this.#session.packs)];
  }

  /** After a step of garbage collection: nothing that it condemned is needed any more. */
  async #settle(state: LogState, snapshot: Snapshot): Promise<void> {
    if (state.generation === this.#generation) return;
    const { objects, index, reader, sync } = this.#parts;
    const { generation } = state;
    await sync();
    await storeCondemnedAgain({
      objects,
      index,
      reader,
      builder: this.#builder,
      needed: treeOf(snapshot),
      packs: this.#added(),
    });
    this.#generation = generation;
  }

  async #merged(state: LogState, added: readonly string[]): Promise<Merge | undefined> {
    const { objects, env, index } = this.#parts;
    if (this.#merge?.packs !== added.length) {
      const merge = await mergeIfNeeded(objects, env.random, index, state, added);
      this.#merge = { packs: added.length, merge };
    }
    const { merge } = this.#merge;
    return merge?.segments.some(({ id }) => state.fencedObjects.has(id)) ? undefined : merge;
  }

  /** After the commit sessions are only in the way; failing to remove them harms nothing. */
  async #cleanUp(): Promise<void> {
    try {
      await this.#session.end();
      for (const key of this.#adopted.keys) await this.#parts.objects.remove(key);
    } catch (error) {
      if (!(error instanceof ObjectError)) throw error;
    }
  }

  /** Seals what was taken in so far, for the next run to take up. Nothing may be put after it. */
  async keep(): Promise<void> {
    await this.writer.keepStored();
  }

  /** Without commit: sealed packs stay, for the next run to take up. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.writer.stopped();
    await this.#builder[Symbol.asyncDispose]();
    if (!this.#committed) {
      for (const pack of [...this.#adopted.packs, ...this.#builder.packIds]) {
        this.#parts.index.dropPack(pack);
      }
      if (this.#session.packs.length === 0) await this.#cleanUp();
    }
    await this.#session[Symbol.asyncDispose]();
    this.#ended();
  }
}

/** Two runs at the same time may copy the same snapshot: one of the copies is enough. */
function checkFirst({ snapshots }: LogState, volume: string, { copyOf }: Original): void {
  for (const snapshot of snapshots.values()) {
    if (snapshot.volume !== volume || originalId(snapshot) !== copyOf) continue;
    const name = `${volume}@${copyOf.slice(0, 8)}`;
    throw new StoreError('STORE_COPY_EXISTS', `${name} was copied by another run meanwhile`, {
      hint: 'Nothing is left to be done for it.',
    });
  }
}

/** What was put must be what was meant, to the last byte. */
function checkDigest(
  volume: string,
  digest: string,
  expectedDigest: string | undefined,
  original: Original | undefined,
): void {
  if (expectedDigest === undefined || digest === expectedDigest) return;
  const name = original === undefined ? volume : `${volume}@${original.copyOf.slice(0, 8)}`;
  throw new StoreError('STORE_DIGEST', `${name} does not have the content of its digest`, {
    hint: 'Nothing was committed. Run `ferry check --read-data` where it comes from.',
  });
}

/** What a forgotten snapshot holds may be gone at any time. */
const UNKNOWN = -1;
