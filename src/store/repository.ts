/** A repository: where snapshots live. Opens, lists, resolves names, begins backups. */
import { CHUNK_BYTES_DEFAULT, CHUNK_BYTES_MAX, CHUNK_BYTES_MIN } from '../codec/index.ts';
import { type Env, toHex } from '../core/index.ts';
import type { Device } from '../device/index.ts';
import { ObjectError, type ObjectStore } from '../objects/index.ts';
import { type BackupOptions, BackupSession, type StoreParts } from './backup-session.ts';
import { ChunkIndex } from './chunk-index.ts';
import { ChunkReader } from './chunk-reader.ts';
import { type KeyRing, makeKeys, type Unlocked, unlockRepository } from './encryption.ts';
import { noPassword, StoreError, snapshotGone, writerBusy } from './errors.ts';
import { collectGarbage, type GcParts } from './gc.ts';
import type { GcOptions, GcReport } from './gc-report.ts';
import { HeadGuard } from './head-guard.ts';
import { healingStore } from './healing-store.ts';
import { IndexSync } from './index-sync.ts';
import { CommitLog } from './log.ts';
import type { IndexChange } from './log-entry.ts';
import type { LogState } from './log-state.ts';
import { tryPin } from './pin.ts';
import type { InitOptions, OpenOptions } from './repository-options.ts';
import { type SealedObjects, sealedObjects } from './sealer.ts';
import { Session } from './session.ts';
import { checkVolumeName, parseSnapshotName, type Snapshot } from './snapshot.ts';
import * as changes from './snapshot-changes.ts';
import { SnapshotDevice } from './snapshot-device.ts';
import { snapshotTracking } from './snapshot-tracking.ts';
import {
  checkCollectable,
  checkVacant,
  checkWritable,
  completeSuperblock,
  featuresOf,
  isSingleWriter,
  patchLimitsOf,
  readSuperblock,
  type Superblock,
  writeSuperblock,
} from './superblock.ts';
import { loadTree } from './tree-loader.ts';
import { TreeReader } from './tree-reader.ts';

/**
 * An open repository, in the state of its opening or of the last `refresh`; others may write to it
 * meanwhile. One backup, copy or garbage collection at a time goes through it, or STORE_BUSY.
 */
export class Repository implements AsyncDisposable {
  readonly #env: Env;
  readonly objects: SealedObjects;
  readonly superblock: Superblock;
  readonly #log: CommitLog;
  readonly #heads: HeadGuard;
  readonly #index: IndexSync;
  readonly reader: TreeReader;
  readonly #ring: KeyRing | undefined;
  #writing = false;

  private constructor(
    env: Env,
    objects: ObjectStore,
    superblock: Superblock,
    { sealer, ring }: Unlocked,
    options: OpenOptions,
  ) {
    this.#env = env;
    const read = options.heals === false ? objects : healingStore(objects, options.onHealed);
    this.objects = sealedObjects(read, sealer);
    this.superblock = superblock;
    this.#ring = ring;
    const { repositoryId } = superblock;
    this.#heads = new HeadGuard({ ...options.heads, objects: this.objects, repositoryId });
    this.#log = new CommitLog(this.objects, env.random, this.#heads);
    this.#index = new IndexSync(this.objects, new ChunkIndex(this.objects, options.fingerprints));
    this.#index.index.patchLimits = patchLimitsOf(superblock);
    this.reader = new TreeReader((id) => loadTree(this.objects, this.#index.index, id));
  }

  /** Makes an empty repository. STORE_EXISTS, STORE_CHUNK_SIZE. */
  static async init(
    env: Env,
    objects: ObjectStore,
    { chunkBytes = CHUNK_BYTES_DEFAULT, singleWriter = false, key }: InitOptions = {},
  ): Promise<Superblock> {
    const power = Number.isInteger(Math.log2(chunkBytes));
    if (!power || chunkBytes < CHUNK_BYTES_MIN || chunkBytes > CHUNK_BYTES_MAX) {
      throw new StoreError('STORE_CHUNK_SIZE', `chunks of ${chunkBytes} bytes are not possible`, {
        hint: 'Choose a power of two from 4K to 1M.',
      });
    }
    const id = new Uint8Array(16);
    env.random.fill(id);
    const created = new Date(env.clock.wallMs()).toISOString();
    const features = featuresOf({ isEncrypted: key !== undefined, singleWriter });
    const plain = { repositoryId: toHex(id), chunkBytes, created, features };
    await checkVacant(objects);
    // A key without a superblock is nothing; a superblock without a key could never be opened.
    const superblock =
      key === undefined ? plain : await makeKeys(objects, env.random, plain, { created, ...key });
    await writeSuperblock(objects, superblock);
    return superblock;
  }

  /** Reads superblock and log; the index follows when it is needed. Owns `objects` afterwards. */
  static async open(
    env: Env,
    objects: ObjectStore,
    options: OpenOptions = {},
  ): Promise<Repository> {
    const superblock = await readSuperblock(objects);
    const prepared = prepare(objects, superblock, options);
    const unlocked = await unlockRepository(prepared, env.random, superblock, options);
    const repository = new Repository(env, prepared, superblock, unlocked, options);
    await repository.refresh();
    return repository;
  }

  /** Sees what others committed meanwhile. */
  async refresh(): Promise<void> {
    await this.#log.refresh();
  }

  /** A person takes the log as it is now, although an entry that was seen is gone. */
  async acceptHead(): Promise<void> {
    await this.#heads.accept(this.#log.state);
  }

  /** Whether content can be read and written, or only objects be checked, copied and dropped. */
  get isBlind(): boolean {
    return this.objects.sealer.mode === 'blind';
  }

  /** The passwords; STORE_NOT_ENCRYPTED, STORE_NO_PASSWORD. */
  get keys(): KeyRing {
    if (this.#ring !== undefined) return this.#ring;
    if (this.isBlind) throw noPassword(`the keys of ${this.objects.name}`);
    throw new StoreError('STORE_NOT_ENCRYPTED', `${this.objects.name} is not encrypted`, {
      hint: 'It cannot become so: make another one with `ferry init --encrypt`, and back up to it.',
    });
  }

  /** STORE_NO_PASSWORD if `what` takes a key that is not here. */
  checkReadable(what: string): void {
    if (this.isBlind) throw noPassword(what);
  }

  get log(): CommitLog {
    return this.#log;
  }

  /** All snapshots, or those of one volume, oldest first. */
  snapshots(volume?: string): Snapshot[] {
    const all = [...this.#log.state.snapshots.values()];
    return volume === undefined ? all : all.filter((snapshot) => snapshot.volume === volume);
  }

  latest(volume: string): Snapshot | undefined {
    return this.snapshots(volume).at(-1);
  }

  /** The snapshot that `VOL@latest~1` or `VOL@PREFIX` names. */
  resolve(name: string): Snapshot {
    const { volume, which, back } = parseSnapshotName(name);
    const own = this.snapshots(volume);
    if (own.length === 0) throw this.#noVolume(volume);
    const at = which === 'latest' ? own.length - 1 : this.#byPrefix(own, volume, which);
    const found = own[at - back];
    if (found !== undefined) return found;
    throw new StoreError('STORE_SNAPSHOT_NOT_FOUND', `${name}: ${volume} has no snapshot there`, {
      hint: `It has ${own.length}; see \`ferry ls ${volume}\`.`,
    });
  }

  #byPrefix(own: readonly Snapshot[], volume: string, prefix: string): number {
    const fits = own.flatMap((snapshot, at) => (snapshot.id.startsWith(prefix) ? [at] : []));
    if (fits.length === 1) return fits[0]!;
    if (fits.length === 0) {
      throw new StoreError('STORE_SNAPSHOT_NOT_FOUND', `${volume} has no snapshot ${prefix}`, {
        hint: `See \`ferry ls ${volume}\`.`,
      });
    }
    throw new StoreError('STORE_AMBIGUOUS', `${volume}@${prefix} may be ${fits.length} snapshots`, {
      hint: 'Give more digits of the id.',
    });
  }

  #noVolume(volume: string): StoreError {
    const known = [...new Set(this.snapshots().map((snapshot) => snapshot.volume))];
    const none = 'The repository is empty: back something up with `ferry backup SOURCE`.';
    const some = `There are: ${known.slice(0, 10).join(', ')}${known.length > 10 ? ', ...' : ''}.`;
    const hint = known.length === 0 ? none : some;
    return new StoreError('STORE_VOLUME_NOT_FOUND', `there is no volume ${volume}`, { hint });
  }

  /**
   * The index with everything that the log names now. What cannot be read is left out and noted in
   * `unreadable`: whatever does not need it can still be restored. Asking again tries again.
   */
  async index(): Promise<ChunkIndex> {
    await this.#index.to(this.#log.state);
    this.#index.index.lossy = this.#log.state.lossy;
    return this.#index.index;
  }

  /** What a writer needs. A lost pack is no hindrance: what was in it is stored again. */
  async #parts(): Promise<StoreParts> {
    const { generation } = this.#log.state;
    const index = await this.index();
    await this.#index.noticeLostPacks();
    for (const [key, error] of index.unreadable) {
      // Without a segment, or when the store fails, too much would be taken for new.
      if (error instanceof ObjectError || key.startsWith('index/')) throw error;
    }
    return {
      env: this.#env,
      objects: this.objects,
      index,
      sync: () => this.#index.to(this.#log.state),
      log: this.#log,
      reader: this.reader,
      chunkBytes: this.superblock.chunkBytes,
      generation,
    };
  }

  /**
   * Announces a reader: until it is disposed, garbage collection keeps what the snapshots need even
   * if they are forgotten, and the packs that the index names now, unless the reader `follows`.
   * STORE_SNAPSHOT_GONE. Where nothing can be written it goes without.
   */
  async pin(snapshots: readonly Snapshot[], follows = false): Promise<AsyncDisposable> {
    // A reader must not take a repository away from its one writer.
    const mayWrite = !this.isBlind && !isSingleWriter(this.superblock);
    const announced = { generation: this.#log.state.generation, snapshots, follows };
    const pin = mayWrite ? await tryPin(this.#env, this.objects, announced) : undefined;
    try {
      await this.#follow();
      const gone = snapshots.find(({ id }) => !this.#log.state.snapshots.has(id));
      if (gone !== undefined) throw snapshotGone(gone);
    } catch (error) {
      await pin?.[Symbol.asyncDispose]();
      throw error;
    }
    return pin ?? { [Symbol.asyncDispose]: async () => {} };
  }

  /** What others committed meanwhile, and where its records are. */
  async #follow(): Promise<void> {
    await this.#log.catchUp();
    await this.index();
  }

  /** Who reads many snapshots has one for all of them: what it keeps is bounded once. */
  async chunkReader(keptBytesMax?: number): Promise<ChunkReader> {
    return new ChunkReader(this.objects, await this.index(), keptBytesMax);
  }

  /**
   * The snapshot as a read-only device; it lives as long as the repository is open. With `since`
   * it tells, as its tracking, in what it differs from that one.
   */
  async device(
    snapshot: Snapshot,
    {
      since,
      reader,
    }: { readonly since?: Snapshot | undefined; readonly reader?: ChunkReader } = {},
  ): Promise<Device> {
    this.checkReadable(`the content of ${snapshot.volume}@${snapshot.id.slice(0, 8)}`);
    const chunks = reader ?? (await this.chunkReader());
    return new SnapshotDevice(snapshot, this.reader, chunks, {
      readsInFlight: this.objects.readsInFlight,
      follow: () => this.#follow(),
      isThere: () => this.#log.state.snapshots.has(snapshot.id),
      tracking: since && snapshotTracking(this.reader, since, snapshot),
    });
  }

  /** Commits an entry that says where chunks are found, or what holds from now on. */
  async commitIndex(
    propose: (state: LogState) => IndexChange,
    said: { readonly lossy?: boolean; readonly parity?: number } = {},
  ): Promise<void> {
    checkWritable(this.superblock);
    this.#heads.checkWritable();
    await this.#log.append(async (state) => ({
      type: 'index',
      index: propose(state),
      generation: state.generation,
      ...said,
    }));
  }

  async beginBackup(options: BackupOptions): Promise<BackupSession> {
    checkVolumeName(options.volume);
    checkWritable(this.superblock);
    this.#heads.checkWritable();
    this.checkReadable('a backup');
    if (this.#writing) throw writerBusy();
    this.#writing = true;
    const ended = () => {
      this.#writing = false;
    };
    try {
      await completeSuperblock(this.objects);
      return await this.#begin(options, ended);
    } catch (error) {
      ended();
      throw error;
    }
  }

  /**
   * The session first: whoever collects garbage afterwards sees it, and goes no step too far. Most
   * of the index is loaded meanwhile, and then brought to what the log says after that.
   */
  async #begin(options: BackupOptions, ended: () => void): Promise<BackupSession> {
    const { generation } = this.#log.state;
    const announcing = Session.begin(this.#env, this.objects, options.volume, generation);
    const [loaded] = await Promise.allSettled([this.index(), announcing]);
    const session = await announcing;
    try {
      if (loaded.status === 'rejected') throw loaded.reason;
      await this.#log.catchUp();
      return await BackupSession.begin(await this.#parts(), options, session, ended);
    } catch (error) {
      await session.end().catch(() => undefined); // The failure itself says more.
      throw error;
    }
  }

  /** What only they hold goes with the next garbage collection. STORE_HELD. */
  async forget(snapshots: readonly Snapshot[]): Promise<void> {
    this.#checkChangeable();
    await changes.forgetSnapshots(this.#log, snapshots);
  }

  /** Nothing forgets what is held. */
  async hold(snapshots: readonly Snapshot[], held: boolean): Promise<void> {
    this.#checkChangeable();
    await changes.holdSnapshots(this.#log, snapshots, held);
  }

  async tag(snapshots: readonly Snapshot[], change: changes.TagChange): Promise<void> {
    this.#checkChangeable();
    await changes.tagSnapshots(this.#log, snapshots, change);
  }

  #checkChangeable(): void {
    checkWritable(this.superblock);
    this.#heads.checkWritable();
    this.checkReadable('changing what the log says');
  }

  /** Gives back what no snapshot needs; see GcOptions and docs/internals/garbage-collection.md. */
  async collectGarbage(options: GcOptions = {}): Promise<GcReport> {
    checkCollectable(this.superblock);
    this.#heads.checkWritable();
    if (this.#writing) throw writerBusy();
    this.#writing = true;
    try {
      const [env, log, sync] = [this.#env, this.#log, this.#index];
      const parts: GcParts = { env, objects: this.objects, log, sync, reader: this.reader };
      return await collectGarbage(parts, options);
    } finally {
      this.#writing = false;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.objects[Symbol.asyncDispose]();
  }
}

function prepare(objects: ObjectStore, superblock: Superblock, options: OpenOptions): ObjectStore {
  if (options.prepare !== undefined) return options.prepare(objects, superblock);
  if (!isSingleWriter(superblock)) return objects;
  throw new StoreError('STORE_OWNED', `${objects.name} is for a single writer`, {
    hint: 'Open it with `prepare`, which puts a guard over the object store.',
  });
}
