/** An inode of ext4, and where the blocks of its file are: extents, or blocks of pointers. */
import { crc32c, crc32cOfU32 } from './crc32c.ts';
import { damaged } from './errors.ts';
import type { Ext4 } from './ext4.ts';
import { Fields } from './fields.ts';
import { EXTENT_DEPTH_MAX } from './limits.ts';

const FLAG_EXTENTS = 0x80000;
const FLAG_INLINE = 0x10000000;
const TYPE_MASK = 0xf000;
const TYPE_FIFO = 0x1000;
const TYPE_CHARACTER = 0x2000;
const TYPE_DIRECTORY = 0x4000;
const TYPE_BLOCK = 0x6000;
const TYPE_REGULAR = 0x8000;
const TYPE_LINK = 0xa000;
const TYPE_SOCKET = 0xc000;
const POINTERS_AT = 0x28;
const POINTERS_BYTES = 60;
const DIRECT_POINTERS = 12;

const EXTENT_MAGIC = 0xf30a;
const ENTRY_BYTES = 12;
/** A longer one has no content yet, and its length is what is above this. */
const WRITTEN_MAX = 32_768;

/** Blocks of a file that lie behind each other, in the file and on the disk. */
export type FileRun = {
  readonly fileBlock: number;
  readonly block: number;
  readonly count: number;
};

export type Ext4Inode = {
  readonly number: number;
  readonly isInUse: boolean;
  readonly mode: number;
  readonly owner: number;
  readonly sizeBytes: number;
  readonly flags: number;
  readonly generation: number;
  readonly bytes: Uint8Array;
};

/** The copy of an inode in its table; FS_DAMAGED if its checksum is wrong. */
export function inodeOf(
  { device, super: { checksums, checksumSeed } }: Ext4,
  number: number,
  bytes: Uint8Array,
): Ext4Inode {
  const fields = new Fields(bytes, `inode ${number} of ${device.name}`, 'little');
  const generation = fields.u32(0x64);
  const mode = fields.u16(0);
  // A file that was unlinked while it is open has blocks; one that is deleted has none any more.
  const isInUse = mode !== 0;
  if (isInUse && checksums === 'crc32c')
    checkInode(fields, seedOf(checksumSeed, number, generation));
  return {
    number,
    isInUse,
    mode,
    owner: fields.u16(2) + fields.u16(0x78) * 2 ** 16,
    sizeBytes: fields.u32(4) + fields.u32(0x6c) * 2 ** 32,
    flags: fields.u32(0x20),
    generation,
    bytes,
  };
}

function seedOf(seed: number, number: number, generation: number): number {
  return crc32cOfU32(crc32cOfU32(seed, number, 'little'), generation, 'little');
}

function checkInode(fields: Fields, seed: number): void {
  const hasHigh = fields.length > 128 && fields.u16(0x80) >= 4;
  const copy = fields.bytes.slice();
  copy.fill(0, 0x7c, 0x7e);
  if (hasHigh) copy.fill(0, 0x82, 0x84);
  const sum = crc32c(seed, copy);
  const kept = fields.u16(0x7c) + (hasHigh ? fields.u16(0x82) * 2 ** 16 : 0);
  if (kept !== (hasHigh ? sum : sum & 0xffff)) {
    throw damaged(`${fields.what} has a wrong checksum`);
  }
}

/** All blocks of content, those that are only reserved too; not those of the tree itself. */
export async function* fileRuns(fs: Ext4, inode: Ext4Inode): AsyncGenerator<FileRun> {
  if (!hasBlocks(inode)) return;
  const what = `inode ${inode.number} of ${fs.device.name}`;
  const root = new Fields(
    inode.bytes.subarray(POINTERS_AT, POINTERS_AT + POINTERS_BYTES),
    what,
    'little',
  );
  if ((inode.flags & FLAG_EXTENTS) === 0) yield* pointedRuns(fs, root);
  else yield* extentRuns(fs, inode, root, undefined);
}

/** Devices have numbers where others have blocks, and a short link its target. */
function hasBlocks({ isInUse, mode, flags, sizeBytes }: Ext4Inode): boolean {
  if (!isInUse || (flags & FLAG_INLINE) !== 0) return false;
  const type = mode & TYPE_MASK;
  if (type === TYPE_LINK) return (flags & FLAG_EXTENTS) !== 0 || sizeBytes >= POINTERS_BYTES;
  if ([TYPE_FIFO, TYPE_CHARACTER, TYPE_BLOCK, TYPE_SOCKET].includes(type)) return false;
  return type === TYPE_REGULAR || type === TYPE_DIRECTORY;
}

async function* extentRuns(
  fs: Ext4,
  inode: Ext4Inode,
  node: Fields,
  wantedDepth: number | undefined,
): AsyncGenerator<FileRun> {
  const { depth, count } = nodeHeader(node);
  if (depth > EXTENT_DEPTH_MAX || (wantedDepth !== undefined && depth !== wantedDepth)) {
    throw damaged(`${node.what}: a tree of extents of depth ${depth}`);
  }
  for (let index = 1; index <= count; index++) {
    const at = index * ENTRY_BYTES;
    if (depth === 0) {
      yield inside(fs, node, extentAt(node, at));
      continue;
    }
    const block = node.u32(at + 4) + node.u16(at + 8) * 2 ** 32;
    const below = await fs.treeBlock(block, `extents of inode ${inode.number}`);
    checkNode(fs, inode, below);
    yield* extentRuns(fs, inode, below, depth - 1);
  }
}

function nodeHeader(node: Fields): { depth: number; count: number } {
  const [magic, count, countMax, depth] = [node.u16(0), node.u16(2), node.u16(4), node.u16(6)];
  const fits = count <= countMax && (countMax + 1) * ENTRY_BYTES <= node.length;
  if (magic === EXTENT_MAGIC && fits) return { depth, count };
  throw damaged(`${node.what}: no node of extents (${magic}, ${count} of ${countMax})`);
}

function extentAt(node: Fields, at: number): FileRun {
  const length = node.u16(at + 4);
  return {
    fileBlock: node.u32(at),
    block: node.u32(at + 8) + node.u16(at + 6) * 2 ** 32,
    count: length > WRITTEN_MAX ? length - WRITTEN_MAX : length,
  };
}

/** What a block would say if it were a leaf of a tree of extents; nothing if it cannot be one. */
export function leafRuns(fs: Ext4, node: Fields): FileRun[] {
  const isNode = node.length >= ENTRY_BYTES && node.u16(0) === EXTENT_MAGIC && node.u16(6) === 0;
  if (!isNode) return [];
  const count = Math.min(node.u16(2), Math.floor(node.length / ENTRY_BYTES) - 1);
  const runs = Array.from({ length: count }, (_, index) =>
    extentAt(node, (index + 1) * ENTRY_BYTES),
  );
  return runs.filter(({ block, count: length }) => block + length <= fs.super.blockCount);
}

/** Behind the last place for an entry lies a checksum. */
function checkNode(
  { super: { checksums, checksumSeed } }: Ext4,
  inode: Ext4Inode,
  node: Fields,
): void {
  if (checksums !== 'crc32c') return;
  const { number, generation } = inode;
  nodeHeader(node);
  const at = (node.u16(4) + 1) * ENTRY_BYTES;
  const sum = crc32c(seedOf(checksumSeed, number, generation), node.bytes.subarray(0, at));
  if (node.u32(at) !== sum) throw damaged(`${node.what} have a wrong checksum`);
}

async function* pointedRuns(fs: Ext4, root: Fields): AsyncGenerator<FileRun> {
  const perBlock = fs.super.blockBytes / 4;
  let fileBlock = 0;
  for (let index = 0; index < DIRECT_POINTERS; index++, fileBlock++) {
    const block = root.u32(index * 4);
    if (block !== 0) yield inside(fs, root, { fileBlock, block, count: 1 });
  }
  for (let depth = 1; depth <= 3; depth++) {
    const block = root.u32((DIRECT_POINTERS + depth - 1) * 4);
    if (block !== 0) yield* indirect(fs, block, { depth, fileBlock });
    fileBlock += perBlock ** depth;
  }
}

async function* indirect(
  fs: Ext4,
  place: number,
  { depth, fileBlock: first }: { readonly depth: number; readonly fileBlock: number },
): AsyncGenerator<FileRun> {
  const node = await fs.treeBlock(place, 'pointers of a file');
  const perBlock = node.length / 4;
  const step = perBlock ** (depth - 1);
  let run: FileRun | undefined;
  for (let index = 0; index < perBlock; index++) {
    const block = node.u32(index * 4);
    if (block === 0) continue;
    const fileBlock = first + index * step;
    if (depth > 1) {
      yield* indirect(fs, block, { depth: depth - 1, fileBlock });
    } else if (
      run !== undefined &&
      run.block + run.count === block &&
      run.fileBlock + run.count === fileBlock
    ) {
      run = { ...run, count: run.count + 1 };
    } else {
      if (run !== undefined) yield inside(fs, node, run);
      run = { fileBlock, block, count: 1 };
    }
  }
  if (run !== undefined) yield inside(fs, node, run);
}

function inside({ super: { blockCount } }: Ext4, node: Fields, run: FileRun): FileRun {
  if (run.block > 0 && run.count > 0 && run.block + run.count <= blockCount) return run;
  throw damaged(`${node.what}: ${run.count} blocks at ${run.block} of ${blockCount}`);
}
