/** From what an ext4 journal logged to the bytes of the device that may have changed. */
import type { Extent } from '../core/index.ts';
import {
  type Ext4,
  type Ext4Group,
  type FileRun,
  fileRuns,
  inodeOf,
  type Jbd2,
  leafRuns,
  type Walk,
} from '../fs/index.ts';
import { bypassedFiles } from './ext4-bypassed.ts';

/** The first block of all, and the superblock behind it. */
const START_BYTES = 2048;

/** Of an inode, what does not tell of its content: access time, its fraction, checksum. */
const NO_CONTENT: readonly (readonly [number, number])[] = [
  [0x8, 0xc],
  [0x7c, 0x7e],
  [0x82, 0x84],
  [0x8c, 0x90],
];

export type Ext4Change = {
  /** As the last snapshot has it. */
  readonly before: Ext4;
  readonly log: Jbd2;
  readonly walk: Walk;
};

/**
 * In no order, overlapping, relative to the file system. Everything that the kernel may have
 * written while `walk` was logged: see docs/internals/tracking.md for why this is all.
 */
export async function* ext4Changes({ before, log, walk }: Ext4Change): AsyncGenerator<Extent> {
  const { fs } = log;
  const { blockBytes, mmpBlock } = fs.super;
  const blocks = (block: number, count = 1): Extent => ({
    offsetBytes: block * blockBytes,
    lengthBytes: count * blockBytes,
  });
  yield { offsetBytes: 0, lengthBytes: START_BYTES };
  for (const { block, count } of fs.copies()) yield blocks(block, count);
  if (mmpBlock !== undefined) yield blocks(mmpBlock);
  yield blocks(log.place(0).block);
  for (let index = 0, at = walk.from; index < walk.length; index++, at = log.after(at)) {
    yield blocks(log.place(at).block);
  }
  const tables: number[] = [];
  for (let number = 0; number < fs.super.groupCount; number++) {
    const group = await fs.group(number);
    tables.push(group.inodeTable);
    for (const { block, count } of await freeRuns(fs, group)) yield blocks(block, count);
    for (const inode of await bypassedFiles(fs, group)) {
      for await (const run of fileRuns(fs, inode)) yield blocks(run.block, run.count);
    }
    // The kernel zeroes those later, past the journal.
    if (!(await before.group(number)).isTableZeroed) yield blocks(group.inodeTable, fs.tableBlocks);
  }
  const found = new Tables(fs, tables);
  const logged = [...new Set([...walk.logged, ...walk.revoked])].sort((a, b) => a - b);
  for (const block of logged) {
    if (block >= fs.super.blockCount) continue; // It could not have been written there.
    const own = wholeClusters(fs, { block, count: 1 });
    yield blocks(own.start, own.count);
    for await (const run of filesOf(before, fs, found, block)) {
      const { start, count } = wholeClusters(fs, run);
      yield blocks(start, count);
    }
  }
}

/** What is free may have been discarded at any time, and what was freed was written before. */
async function freeRuns(fs: Ext4, group: Ext4Group): Promise<{ block: number; count: number }[]> {
  const { firstBlock, blockCount } = group;
  if (group.areBlocksUninitialised) return [{ block: firstBlock, count: blockCount }];
  const used = await fs.blocksInUse(group);
  const perCluster = fs.super.clusterBytes / fs.super.blockBytes;
  const runs: { block: number; count: number }[] = [];
  for (let from = used.nextClear(0); from < used.size; ) {
    const to = used.nextSet(from);
    const end = Math.min(blockCount, to * perCluster);
    runs.push({ block: firstBlock + from * perCluster, count: end - from * perCluster });
    from = used.nextClear(to);
  }
  return runs;
}

/** Which blocks are of inode tables. */
class Tables {
  readonly #fs: Ext4;
  readonly #starts: readonly { readonly start: number; readonly group: number }[];

  constructor(fs: Ext4, starts: readonly number[]) {
    this.#fs = fs;
    this.#starts = starts
      .map((start, group) => ({ start, group }))
      .sort((a, b) => a.start - b.start);
  }

  /** The number of the first inode in that block. */
  firstInode(block: number): number | undefined {
    let low = 0;
    let high = this.#starts.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#starts[middle]!.start <= block) low = middle + 1;
      else high = middle;
    }
    const found = this.#starts[low - 1];
    if (found === undefined || block >= found.start + this.#fs.tableBlocks) return undefined;
    const { inodesPerGroup, inodeBytes, blockBytes } = this.#fs.super;
    return found.group * inodesPerGroup + (block - found.start) * (blockBytes / inodeBytes) + 1;
  }
}

/** Of a block that was logged: the content of the files whose inodes changed in it. */
async function* filesOf(
  before: Ext4,
  fs: Ext4,
  tables: Tables,
  block: number,
): AsyncGenerator<FileRun> {
  const now = await fs.block(block, 'a block that was logged');
  const first = tables.firstInode(block);
  if (first === undefined) {
    // Online defragmentation exchanges blocks below a leaf, and leaves the inode as it was.
    yield* leafRuns(fs, now);
    return;
  }
  const { inodeBytes, blockBytes } = fs.super;
  const old = await before.block(block, 'a block that was logged');
  for (let index = 0; index < blockBytes / inodeBytes; index++) {
    const at = index * inodeBytes;
    const bytes = now.take(at, inodeBytes);
    if (isSameContent(old.take(at, inodeBytes), bytes)) continue;
    yield* fileRuns(fs, inodeOf(fs, first + index, bytes));
  }
}

function isSameContent(before: Uint8Array, now: Uint8Array): boolean {
  let at = 0;
  for (const [from, to] of NO_CONTENT) {
    if (Buffer.compare(before.subarray(at, from), now.subarray(at, from)) !== 0) return false;
    at = to;
  }
  return Buffer.compare(before.subarray(at), now.subarray(at)) === 0;
}

/** What is not used of a cluster was free, and may have held anything meanwhile. */
function wholeClusters(
  { super: { clusterBytes, blockBytes, firstDataBlock } }: Ext4,
  { block, count }: Omit<FileRun, 'fileBlock'>,
): { start: number; count: number } {
  const perCluster = clusterBytes / blockBytes;
  if (perCluster === 1) return { start: block, count };
  const start = block - ((block - firstDataBlock) % perCluster);
  const end = Math.ceil((block + count - start) / perCluster) * perCluster;
  return { start, count: end };
}
