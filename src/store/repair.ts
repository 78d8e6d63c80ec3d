/**
 * Repairs a repository that can be opened: damaged packs are replaced from another repository or
 * rewritten without what is damaged, the index is made anew. No damaged byte is thrown away.
 */
import type { CodecPool } from '../codec/index.ts';
import { type Env, FerryError, fromHex, hasCode, toHex } from '../core/index.ts';
import { CheckRun } from './check.ts';
import { checkPacks } from './check-packs.ts';
import { checkParities } from './check-parity.ts';
import { checkpointKey, readCheckpoint, sealCheckpoint } from './checkpoint.ts';
import { ChunkIndex } from './chunk-index.ts';
import { ChunkReader } from './chunk-reader.ts';
import { StoreError } from './errors.ts';
import { type MendedPack, mendPack } from './mend-pack.ts';
import { packKey, readPackTable } from './pack-file.ts';
import { type PackTable, RECORD_CHUNK, RECORD_TREE } from './pack-table.ts';
import { parityKey } from './parity-file.ts';
import { eachChunk, leaves } from './pieces.ts';
import { putUnlessThere, quarantine } from './quarantine.ts';
import { listedPacks, type NamedThere, namedThere, rebuildIn } from './rebuild-index.ts';
import { type RepairNote, takePack } from './repair-base.ts';
import type { Repository } from './repository.ts';
import { rescueFrames } from './rescue-frames.ts';
import { isWholeFrame, PackSink, salvagePack } from './salvage.ts';
import { segmentKey } from './segment.ts';
import { Session } from './session.ts';
import { treeOf } from './snapshot.ts';
import { fetchTree, loadTree } from './tree-loader.ts';
import { TreeReader } from './tree-reader.ts';

export type RepairOptions = {
  readonly pool: CodecPool;
  /** Has good copies: a mirror, or any repository that holds the same chunks. */
  readonly from: Repository | undefined;
  readonly dryRun: boolean;
  /**
   * Patches that do not decode although their bytes are whole go too. The first time they stay, as
   * what they stand on may have come back.
   */
  readonly dropsPatches: boolean;
  /** Packs that are there and that no entry names are taken in: an entry or the index was lost. */
  readonly adoptsListed: boolean;
  readonly notes: RepairNote[];
  readonly onProgress?: (done: { readonly bytes: number }) => void;
  readonly signal?: AbortSignal;
};

/** Answers whether anything was, or would be, done. Open the repository again afterwards. */
export async function repair(
  env: Env,
  repository: Repository,
  options: RepairOptions,
): Promise<boolean> {
  await using run = new RepairRun(env, repository, options);
  return await run.all();
}

class RepairRun implements AsyncDisposable {
  readonly #env: Env;
  readonly #repository: Repository;
  readonly #options: RepairOptions;
  readonly #check: CheckRun;
  readonly #dropped = new Set<string>();
  readonly #added: string[] = [];
  #lossy = false;
  #session: Session | undefined;
  readonly #generation: number;
  readonly #known: NamedThere;

  constructor(env: Env, repository: Repository, options: RepairOptions) {
    this.#env = env;
    this.#repository = repository;
    this.#options = options;
    this.#generation = repository.log.state.generation;
    this.#known = namedThere(repository.log.state);
    const { pool, onProgress, signal } = options;
    this.#check = new CheckRun(repository, {
      readData: true,
      pool,
      ...(onProgress && { onProgress }),
      ...(signal && { signal }),
    });
  }

  async all(): Promise<boolean> {
    const { notes, dryRun, adoptsListed } = this.#options;
    const before = notes.length;
    const packs = await checkPacks(this.#check);
    await checkParities(this.#check, packs);
    const { named } = packs;
    const missingIndex = this.#check.badSegments.size > 0;
    if (missingIndex || adoptsListed) await this.#adopt(named);
    const announce = async (pack: string) => (await this.#ownSession()).add(pack);
    await using sink = new PackSink(this.#repository.objects, this.#env.random, announce);
    for (const [packId, damage] of [...this.#check.damaged]) {
      this.#options.signal?.throwIfAborted();
      await this.#pack(packId, damage, sink);
    }
    await this.#heal(sink);
    if (!dryRun) await sink.finish();
    this.#added.push(...sink.sealed.map(({ id }) => id));
    if (missingIndex || this.#dropped.size > 0 || this.#added.length > 0) await this.#commit();
    await this.#checkpoints();
    await this.#parities();
    await this.#session?.end();
    return notes.length > before;
  }

  /** In the generation in which packs were looked at: a later one may have dropped some. */
  async #ownSession(): Promise<Session> {
    this.#session ??= await Session.begin(
      this.#env,
      this.#repository.objects,
      '',
      this.#generation,
    );
    return this.#session;
  }

  /** What was not committed is removed by whoever finds the session dead. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#session?.[Symbol.asyncDispose]();
  }

  #note(action: RepairNote['action'], object: string, what: string): void {
    this.#options.notes.push({ action, object, message: `${object}: ${what}` });
  }

  /** Without its segment a pack is named nowhere: whatever is there is taken for ours. */
  async #adopt(named: ReadonlySet<string>): Promise<void> {
    const { objects, log } = this.#repository;
    for (const pack of await listedPacks(objects)) {
      // What garbage collection has dropped must not come back.
      if (named.has(pack) || log.state.fencedObjects.has(pack)) continue;
      try {
        await readPackTable(objects, pack);
        this.#added.push(pack);
      } catch (error) {
        if (!(error instanceof StoreError)) throw error;
        this.#lossy = true;
        this.#note('lost', packKey(pack), `${error.message}; nothing names it`);
      }
    }
  }

  async #pack(packId: string, damage: ReadonlySet<number> | 'whole', sink: PackSink) {
    const { objects } = this.#repository;
    const { dryRun, dropsPatches } = this.#options;
    const key = packKey(packId);
    if ((await this.#byParity(packId)) || (await this.#fromMirror(packId))) return;
    const table = await this.#table(packId);
    if (table === undefined) {
      this.#dropped.add(packId);
      this.#lossy = true;
      const index = await this.#repository.index();
      const kept = await rescueFrames(objects, index, packId, dryRun ? undefined : sink);
      if (kept === 0) this.#note('lost', key, 'nothing of it can be read');
      else this.#note('rewritten', key, `its table is lost; ${kept} records were found and kept`);
      return;
    }
    const bad = new Set<number>();
    for (const frame of damage === 'whole' ? [] : damage) {
      const onlyParents = await isWholeFrame(objects, packId, table, frame);
      if (!onlyParents || dropsPatches) bad.add(frame);
    }
    // Nothing but patches without their parents: those may come back.
    if (damage !== 'whole' && damage.size > 0 && bad.size === 0) return;
    const target = dryRun ? undefined : sink;
    const single = (ordinals: readonly number[]) => this.#single(packId, table, ordinals, target);
    const kept = await salvagePack(objects, { packId, table, bad, single }, target);
    this.#dropped.add(packId);
    if (kept.lostRecords > 0) this.#lossy = true;
    const frames = `${kept.keptFrames} of ${table.frameFirst.length} frames are whole and kept`;
    this.#note('rewritten', key, `${frames}, ${kept.lostRecords} records are lost`);
  }

  async #table(packId: string): Promise<PackTable | undefined> {
    try {
      return await readPackTable(this.#repository.objects, packId);
    } catch (error) {
      if (!(error instanceof StoreError) && !hasCode(error, 'OBJECT_IO')) throw error;
      return undefined;
    }
  }

  /** Byte for byte, if no more is damaged than the pack's parity makes up for. */
  async #byParity(packId: string): Promise<boolean> {
    const { objects } = this.#repository;
    const key = packKey(packId);
    let pack: MendedPack;
    try {
      pack = await mendPack(objects, packId);
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      return false;
    }
    // What is whole already is not what is wrong with it, or another repair was faster.
    if (pack.mended.length === 0) return false;
    if (!this.#options.dryRun) {
      await quarantine(objects, key);
      await putUnlessThere(objects, key, pack.bytes);
      this.#check.damaged.delete(packId);
    }
    const bytes = pack.mended.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0);
    this.#note('mended', key, `${bytes} bytes that were damaged are made again from its parity`);
    return true;
  }

  /** Byte for byte, if the other repository is a mirror and its pack is whole. */
  async #fromMirror(packId: string): Promise<boolean> {
    const { from, dryRun } = this.#options;
    const key = packKey(packId);
    if (from === undefined) return false;
    try {
      const table = await readPackTable(from.objects, packId);
      for (let frame = 0; frame < table.frameFirst.length; frame++) {
        if (!(await isWholeFrame(from.objects, packId, table, frame))) return false;
      }
    } catch (error) {
      if (error instanceof StoreError) return false;
      throw error;
    }
    if (!dryRun) {
      await takePack(this.#repository.objects, from.objects, key);
      this.#check.damaged.delete(packId);
    }
    this.#note('replaced', key, 'replaced by that of the other repository');
    return true;
  }

  /** Records of a damaged frame, one by one: from here if they decode, from the other one else. */
  async #single(
    packId: string,
    table: PackTable,
    ordinals: readonly number[],
    sink: PackSink | undefined,
  ): Promise<number> {
    const index = await this.#repository.index();
    const pack = index.packNumber(packId);
    const chunks = new ChunkReader(this.#repository.objects, index);
    let kept = 0;
    for (const ordinal of ordinals) {
      if (table.kinds[ordinal] !== RECORD_CHUNK || pack === undefined) continue;
      try {
        const bytes = await chunks.bytes({ pack, packId, ordinal, table });
        await sink?.chunk(bytes, table.id(ordinal), table.checksums[ordinal]!);
        kept++;
      } catch (error) {
        if (!(error instanceof StoreError)) throw error;
      }
    }
    return kept;
  }

  /** What snapshots need and no pack has any more is taken from the other repository. */
  async #heal(sink: PackSink): Promise<void> {
    const { from, dryRun } = this.#options;
    if (from === undefined) return;
    const index = await this.#indexAfter(sink);
    const other = await from.index();
    const otherChunks = new ChunkReader(from.objects, other);
    const asked = new Set<string>();
    let taken = 0;
    const { objects } = this.#repository;
    const reader = new TreeReader(async (id) => {
      const found = await index.find(fromHex(id, 32)!, undefined, RECORD_TREE);
      if (found !== undefined && !this.#check.isDamaged(found)) return loadTree(objects, index, id);
      const record = await loadTree(from.objects, other, id);
      if (asked.has(id)) return record;
      asked.add(id);
      const location = await other.find(fromHex(id, 32)!, undefined, RECORD_TREE);
      if (!dryRun) await sink.tree(await fetchTree(from.objects, location!, id));
      taken++;
      return record;
    });
    for (const snapshot of this.#repository.snapshots()) {
      try {
        for await (const { index: number, leaf } of leaves(reader, treeOf(snapshot))) {
          this.#options.signal?.throwIfAborted();
          const ids: Uint8Array[] = [];
          eachChunk(leaf, number, (_offset, _length, id) => ids.push(id));
          for (const id of ids) {
            if (asked.has(toHex(id))) continue;
            const found = await index.find(id);
            if (found !== undefined && !this.#check.isDamaged(found)) continue;
            const there = await other.find(id);
            if (there === undefined) continue;
            asked.add(toHex(id));
            const bytes = await otherChunks.bytes(there);
            if (!dryRun) await sink.chunk(bytes, id, there.table.checksums[there.ordinal]!);
            taken++;
          }
        }
      } catch (error) {
        // What neither has stays lost; the check afterwards names it.
        if (!(error instanceof FerryError) || !/^STORE_/.test(error.code)) throw error;
      }
    }
    if (taken > 0) this.#note('taken', from.objects.name, `${taken} records were taken from it`);
  }

  /** Where records will be found: in the packs that stay, and in those that were just written. */
  async #indexAfter(sink: PackSink): Promise<ChunkIndex> {
    const { objects } = this.#repository;
    const index = new ChunkIndex(objects);
    if (!this.#options.dryRun) await sink.finish();
    for (const { id, table } of sink.sealed) index.addTable(id, table);
    const old = await this.#repository.index();
    for (const pack of [...old.packIds(), ...this.#added]) {
      if (this.#dropped.has(pack) && !this.#options.dryRun) continue;
      const table = await this.#table(pack);
      if (table !== undefined && !index.hasPack(pack)) index.addTable(pack, table);
    }
    return index;
  }

  /** Order: new packs are durable, the entry says so, and only then the old ones move away. */
  async #commit(): Promise<void> {
    const { dryRun } = this.#options;
    const { objects, log } = this.#repository;
    const segments = [...log.state.segments.keys()];
    const what = 'the index is made anew from the tables of all packs';
    this.#note('rebuilt', 'index', what);
    if (dryRun) return;
    const change = {
      dropped: this.#dropped,
      added: this.#added,
      known: this.#known,
      ...(this.#lossy && { lossy: true }),
    };
    await rebuildIn(await this.#ownSession(), this.#env, this.#repository, change);
    const old = [...this.#dropped].flatMap((pack) => [packKey(pack), parityKey(pack)]);
    for (const segment of segments) {
      if (this.#check.badSegments.has(segment)) old.push(segmentKey(segment));
    }
    for (const key of old) {
      const to = await quarantine(objects, key);
      if (to !== undefined) this.#note('set-aside', key, `its bytes are in ${to} now`);
    }
  }

  /** What is damaged is set aside, and made anew when the packs are whole again. */
  async #parities(): Promise<void> {
    const { objects } = this.#repository;
    for (const packId of this.#check.damagedParity) {
      const key = parityKey(packId);
      if (!this.#options.dryRun) await quarantine(objects, key);
      this.#note('set-aside', key, 'damaged; it can be made anew');
    }
  }

  /** A damaged one is set aside, and what the log says now is written down in place of it. */
  async #checkpoints(): Promise<void> {
    const { objects, log } = this.#repository;
    const { dryRun } = this.#options;
    const keys: string[] = [];
    for await (const { key } of objects.list('checkpoints/')) keys.push(key);
    let damaged = 0;
    for (const key of keys) {
      try {
        await readCheckpoint(objects, key);
      } catch (error) {
        if (!(error instanceof StoreError) || error.code === 'STORE_VERSION') throw error;
        damaged++;
        if (!dryRun) await quarantine(objects, key);
        this.#note('set-aside', key, 'damaged; the log says the same');
      }
    }
    if (damaged === 0) return;
    const key = checkpointKey(log.state.sequence);
    this.#note('rebuilt', key, 'a new checkpoint of the present state');
    if (dryRun || keys.includes(key)) return;
    await objects.putIfAbsent(key, sealCheckpoint(objects.sealer, log.state));
  }
}
