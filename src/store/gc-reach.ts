/**
 * Finds what snapshots need: each manifest node is visited once, each record marked in a bitmap of
 * its pack. What is found only in condemned packs is told, so that those are spared.
 */
import { Bitmap, type FerryError, fromHex, toHex } from '../core/index.ts';
import type { ChunkIndex, Location } from './chunk-index.ts';
import { StoreError } from './errors.ts';
import type { PatchParents } from './gc-parents.ts';
import type { Standing } from './gc-standing.ts';
import { treeHeight } from './geometry.ts';
import { PIECE_CHUNK } from './leaf.ts';
import { type PackTable, RECORD_CHUNK, RECORD_TREE } from './pack-table.ts';
import { type Snapshot, treeOf } from './snapshot.ts';
import type { Child, Tree, TreeReader } from './tree-reader.ts';
import type { NodeReference } from './tree-record.ts';

export type ReachOptions = {
  readonly index: ChunkIndex;
  readonly reader: TreeReader;
  readonly parents: PatchParents;
  /** Is told what is marked for which reason. */
  readonly standing?: Standing;
  /** Something is needed that lies only in a condemned pack. */
  onCondemned(found: Location): void;
  /** Called now and then, with the nodes visited so far. */
  readonly onProgress?: (nodes: number) => void;
  readonly signal?: AbortSignal | undefined;
};

/** What was done with a node: its own bytes are needed, or everything below it as well. */
const NODE_STORED = 1;
const NODE_WHOLE = 2;

export class Reach {
  readonly #options: ReachOptions;
  readonly #snapshots = new Set<string>();
  /** Per tree record, a byte for each of its nodes, as far as they were met. */
  readonly #nodes = new Map<string, Uint8Array>();
  /** By pack number: which records are needed. */
  readonly live = new Map<number, Bitmap>();
  nodeCount = 0;

  constructor(options: ReachOptions) {
    this.#options = options;
  }

  /** Marks all that the snapshot needs. STORE_MISSING, STORE_DAMAGED if that is not all there. */
  async snapshot(snapshot: Snapshot): Promise<void> {
    if (this.#snapshots.has(snapshot.id)) return;
    await this.tree(treeOf(snapshot));
    this.#snapshots.add(snapshot.id);
  }

  async tree(tree: Tree): Promise<void> {
    await this.#node(tree, treeHeight(tree.geometry), tree.root);
  }

  /** Marks a chunk, and what it stands on. */
  async chunk(id: Uint8Array): Promise<void> {
    await this.#need(id, RECORD_CHUNK);
  }

  /**
   * Marks what the patches of a pack stand on, whether they are needed or not: whoever finds one
   * may rely on it. Answers with what a patch lacks that nobody needs.
   */
  async pack(packId: string): Promise<FerryError | undefined> {
    const { index } = this.#options;
    const pack = index.packNumber(packId);
    if (pack === undefined) return undefined;
    const table = await index.table(pack);
    for (let ordinal = 0; ordinal < table.count; ordinal++) {
      if (table.depths[ordinal] === 0) continue;
      const needed = this.live.get(pack)?.test(ordinal) === true;
      if (needed) continue;
      try {
        await this.#parents({ pack, packId, ordinal, table });
      } catch (error) {
        if (error instanceof StoreError) return error;
        throw error;
      }
    }
    return undefined;
  }

  isLive(pack: number, ordinal: number): boolean {
    return this.live.get(pack)?.test(ordinal) === true;
  }

  async #node(tree: Tree, level: number, reference: Child): Promise<void> {
    if (reference === undefined || !this.#enter(reference, NODE_WHOLE)) return;
    this.#options.signal?.throwIfAborted();
    const { reader } = this.#options;
    for (const node of await reader.line(reference)) {
      if (node !== reference && !this.#enter(node, NODE_STORED)) break;
      await this.#record(node.record);
    }
    if (level > 0) {
      const { children } = await reader.inner(reference);
      for (const child of children) await this.#node(tree, level - 1, child);
      return;
    }
    const leaf = await reader.leaf(reference, tree.geometry.chunkBytes);
    for (let piece = 0; piece < leaf.count; piece++) {
      if (leaf.kinds[piece] !== PIECE_CHUNK) continue;
      const done = this.#need(leaf.id(piece), RECORD_CHUNK);
      if (done !== undefined) await done;
    }
  }

  /** False if that much was done with the node already. */
  #enter({ record, ordinal }: NodeReference, state: number): boolean {
    let nodes = this.#nodes.get(record);
    if (nodes === undefined || nodes.byteLength <= ordinal) {
      const grown = new Uint8Array(Math.max(8, ordinal + 1, (nodes?.byteLength ?? 0) * 2));
      if (nodes !== undefined) grown.set(nodes);
      this.#nodes.set(record, grown);
      nodes = grown;
    }
    if (nodes[ordinal]! >= state) return false;
    if (nodes[ordinal] === 0 && ++this.nodeCount % 1024 === 0) {
      this.#options.onProgress?.(this.nodeCount);
    }
    nodes[ordinal] = state;
    return true;
  }

  async #record(record: string): Promise<void> {
    await this.#need(fromHex(record, 32)!, RECORD_TREE);
  }

  /** Undefined if nothing has to be waited for. */
  #need(id: Uint8Array, kind: number): Promise<void> | undefined {
    const found = this.#options.index.find(id, undefined, kind);
    if (found instanceof Promise) return found.then((location) => this.#found(location, id));
    return this.#found(found, id);
  }

  #found(location: Location | undefined, id: Uint8Array): Promise<void> | undefined {
    if (location === undefined) {
      throw this.#options.index.absent(`record ${toHex(id).slice(0, 16)}`);
    }
    this.#options.standing?.want(location);
    if (!this.#mark(location)) return undefined;
    if (location.table.depths[location.ordinal] === 0) return undefined;
    return this.#parents(location);
  }

  /** False if the copy was marked before. */
  #mark(location: Location): boolean {
    const { pack, table, ordinal } = location;
    let bits = this.live.get(pack);
    if (bits === undefined) {
      bits = new Bitmap(table.count);
      this.live.set(pack, bits);
    }
    if (bits.test(ordinal)) return false;
    bits.set(ordinal);
    if (this.#options.index.isCondemned(pack)) this.#options.onCondemned(location);
    return true;
  }

  async #parents(patch: Location): Promise<void> {
    for (const parent of await this.parentsOf(patch)) {
      this.#options.standing?.standOn(parent);
      if (!this.#mark(parent)) continue;
      if (parent.table.depths[parent.ordinal] !== 0) await this.#parents(parent);
    }
  }

  /** Each parent resolves to its best copy, as it will for whoever reads the patch. */
  async parentsOf({ packId, table, ordinal }: Location): Promise<Location[]> {
    const { index, parents } = this.#options;
    const depth = table.depths[ordinal]!;
    const found: Location[] = [];
    for (const reference of await parents.of(packId, table, ordinal)) {
      const [parent] = await index.findReference(reference, depth);
      if (parent === undefined) {
        throw index.absent(`the parent ${toHex(reference.subarray(4))} of a patch`);
      }
      found.push(parent);
    }
    return found;
  }
}

/** Stored bytes of a pack's frames, and how many of them are in use, by the share of each frame. */
export function usedBytes(
  table: PackTable,
  bits: Bitmap | undefined,
  freed?: Bitmap,
): { stored: number; used: number } {
  let stored = 0;
  let used = 0;
  for (let frame = 0; frame < table.frameFirst.length; frame++) {
    const first = table.frameFirst[frame]!;
    const end = table.frameFirst[frame + 1] ?? table.count;
    let all = 0;
    let live = 0;
    for (let ordinal = first; ordinal < end; ordinal++) {
      // A patch is about so much smaller than what it stands for.
      const weight = table.rawBytes[ordinal]! / (table.depths[ordinal] === 0 ? 1 : PATCH_SHRINKS);
      all += weight;
      if (bits?.test(ordinal) === true && freed?.test(ordinal) !== true) live += weight;
    }
    stored += table.frameBytes[frame]!;
    if (all > 0) used += (table.frameBytes[frame]! * live) / all;
  }
  return { stored, used };
}

const PATCH_SHRINKS = 8;
