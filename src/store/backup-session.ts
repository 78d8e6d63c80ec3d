/** One writer's way from nothing to a committed snapshot. */
import { type CodecPool, type Compression, defaultCompression } from '../codec/index.ts';
import { type Env, toHex } from '../core/index.ts';
import { ObjectError } from '../objects/index.ts';
import type { ChunkIndex } from './chunk-index.ts';
import { StoreError } from './errors.ts';
import { FrameBuilder } from './frame-builder.ts';
import type { Geometry } from './geometry.ts';
import { indexChange, mergeIfNeeded } from './index-maintenance.ts';
import type { CommitLog } from './log.ts';
import { readPackTable } from './pack-file.ts';
import type { SealedObjects } from './sealer.ts';
import { type FoundSession, findSessions, Session } from './session.ts';
import { SNAPSHOT_ID_BYTES, type Snapshot, treeOf, type UnreadableExtent } from './snapshot.ts';
import { SnapshotWriter } from './snapshot-writer.ts';
import type { TreeReader } from './tree-reader.ts';
import { TreeWriter } from './tree-writer.ts';

export type BackupOptions = {
  readonly volume: string;
  readonly sizeBytes: number;
  /** What most of the content is like; the newest snapshot of the volume as a rule. */
  readonly parent: Snapshot | undefined;
  readonly pool: CodecPool;
  readonly compression?: Compression;
  readonly packTargetBytes?: number;
};

/** What only the caller knows about the snapshot. */
export type CommitFacts = {
  readonly source: string;
  readonly origin: string;
  readonly readBytes: number;
  readonly unreadable: readonly UnreadableExtent[];
};

export type StoreParts = {
  readonly env: Env;
  readonly objects: SealedObjects;
  readonly index: ChunkIndex;
  readonly log: CommitLog;
  readonly reader: TreeReader;
  readonly chunkBytes: number;
};

export class BackupSession implements AsyncDisposable {
  readonly #parts: StoreParts;
  readonly #options: BackupOptions;
  readonly #session: Session;
  readonly #builder: FrameBuilder;
  readonly writer: SnapshotWriter;
  readonly #adopted: readonly FoundSession[];
  /** Bytes of packs that were sealed. */
  storedBytes = 0;

  readonly #ended: () => void;
  /** Packs that others of this process must not rely on before the log names them. */
  readonly #own: string[];
  #committed = false;

  private constructor(
    parts: StoreParts,
    options: BackupOptions,
    adopted: Adopted,
    ended: () => void,
  ) {
    const { env, objects, index, log, reader, chunkBytes } = parts;
    this.#parts = parts;
    this.#options = options;
    this.#adopted = adopted.sessions;
    this.#own = adopted.indexed;
    this.#ended = ended;
    this.#session = new Session(objects, env.random, options.volume, log.state.generation);
    const geometry: Geometry = { sizeBytes: options.sizeBytes, chunkBytes };
    const parent = options.parent && treeOf(options.parent);
    const tree = new TreeWriter({
      geometry,
      parent,
      reader,
      signing: objects.sealer.treeSigning,
      emit: (record, id, checksum) => this.#builder.addTree(record, id, checksum),
    });
    this.#builder = new FrameBuilder({
      objects,
      index,
      pool: options.pool,
      random: env.random,
      compression: options.compression ?? defaultCompression,
      ...(options.packTargetBytes !== undefined && { packTargetBytes: options.packTargetBytes }),
      beforeSeal: () => tree.flush(),
      afterSeal: async ({ id, sizeBytes }) => {
        this.storedBytes += sizeBytes;
        await this.#session.add(id);
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
    });
  }

  /** Begins; what cut-off writers of the same volume have stored is found, not stored again. */
  static async begin(
    parts: StoreParts,
    options: BackupOptions,
    ended: () => void,
  ): Promise<BackupSession> {
    const { objects, index } = parts;
    const sessions: FoundSession[] = [];
    const indexed: string[] = [];
    for (const found of await findSessions(objects, options.volume)) {
      sessions.push({ ...found, state: { ...found.state, packs: await adopt(found) } });
    }
    return new BackupSession(parts, options, { sessions, indexed }, ended);

    /** Packs that are there and not in the log yet. */
    async function adopt({ state }: FoundSession): Promise<string[]> {
      const packs: string[] = [];
      for (const pack of state.packs) {
        // What the index knew before is in the log already.
        if (index.hasPack(pack) && !indexed.includes(pack)) continue;
        try {
          if (!index.hasPack(pack)) {
            index.addTable(pack, await readPackTable(objects, pack));
            indexed.push(pack);
          }
          packs.push(pack);
        } catch (error) {
          if (!(error instanceof StoreError || error instanceof ObjectError)) throw error;
          // A later pack may stand on this one, which did not survive.
          break;
        }
      }
      return packs;
    }
  }

  /** Bytes that earlier, cut-off runs had stored: worth telling a person. */
  get adoptedPacks(): number {
    return this.#adopted.reduce((sum, { state }) => sum + state.packs.length, 0);
  }

  /** Makes the snapshot part of the log. The whole volume must have been put. */
  async commit(facts: CommitFacts): Promise<Snapshot> {
    const { env, objects, index, log, chunkBytes } = this.#parts;
    const { volume, sizeBytes, parent } = this.#options;
    const { root, digest } = await this.writer.finish();
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
    };
    // Adopted packs come whole: a patch in one may stand on a chunk in another.
    const adopted = this.#adopted.flatMap(({ state }) => state.packs);
    const added = [...new Set([...this.#session.packs, ...adopted])];
    const merge = await mergeIfNeeded(objects, env.random, index, log.state, added);
    await log.append(async (state) => ({
      snapshot,
      index: indexChange(state, added, merge),
      generation: state.generation,
    }));
    this.#committed = true;
    await this.#cleanUp();
    return snapshot;
  }

  /** After the commit sessions are only in the way; failing to remove them harms nothing. */
  async #cleanUp(): Promise<void> {
    try {
      await this.#session.end();
      for (const { keys } of this.#adopted) {
        for (const key of keys) await this.#parts.objects.remove(key);
      }
    } catch (error) {
      if (!(error instanceof ObjectError)) throw error;
    }
  }

  /** Seals what was taken in so far, for the next run to take up. Nothing may be put after it. */
  async keep(): Promise<void> {
    await this.writer.settled();
    await this.#builder.finish();
  }

  /** Without commit: sealed packs stay, for the next run to take up. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.writer.settled().catch(() => undefined);
    await this.#builder[Symbol.asyncDispose]();
    if (!this.#committed) {
      for (const pack of [...this.#own, ...this.#builder.packIds]) {
        this.#parts.index.dropPack(pack);
      }
    }
    this.#ended();
  }
}

type Adopted = { readonly sessions: FoundSession[]; readonly indexed: string[] };
