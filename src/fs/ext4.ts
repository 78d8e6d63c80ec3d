/** An ext4 file system on a device: its groups, bitmaps and inodes, checksums verified. */
import { Bitmap, fromHex } from '../core/index.ts';
import type { Device } from '../device/index.ts';
import { crc16 } from './crc16.ts';
import { crc32c, crc32cOfU32, crc32cWithout } from './crc32c.ts';
import { damaged, tooMuch } from './errors.ts';
import { type Ext4Inode, inodeOf } from './ext4-inode.ts';
import { type Ext4Super, readExt4Super } from './ext4-super.ts';
import { Fields } from './fields.ts';
import { DESCRIPTOR_BLOCKS_KEPT, TREE_READS_PER_BLOCK_MAX } from './limits.ts';
import { readFields } from './read-bytes.ts';
import { TableCache } from './table-cache.ts';

const INODES_UNINITIALISED = 1;
const BLOCKS_UNINITIALISED = 2;
const TABLE_ZEROED = 4;
const CHECKSUM_AT = 0x1e;
/** A descriptor that is long enough has the upper halves of the bitmaps' checksums. */
const HIGH_SUMS_BYTES = 0x3c;

export type Ext4Group = {
  readonly number: number;
  readonly firstBlock: number;
  readonly blockCount: number;
  readonly blockBitmap: number;
  readonly inodeBitmap: number;
  readonly inodeTable: number;
  /** The bitmap of blocks was never written: nothing but metadata is in use. */
  readonly areBlocksUninitialised: boolean;
  readonly areInodesUninitialised: boolean;
  /** False: the kernel may still be zeroing the inode table, past the journal. */
  readonly isTableZeroed: boolean;
  readonly unusedInodes: number;
  readonly bitmapChecksum: number;
};

/** Borrows the device. Nobody may write to it meanwhile. */
export async function openExt4(device: Device): Promise<Ext4> {
  return new Ext4(device, await readExt4Super(device));
}

export class Ext4 {
  readonly device: Device;
  readonly super: Ext4Super;
  #treeReads = 0;
  readonly #descriptors = new TableCache<Fields>(DESCRIPTOR_BLOCKS_KEPT);

  constructor(device: Device, ext4Super: Ext4Super) {
    this.device = device;
    this.super = ext4Super;
    const end = ext4Super.blockCount * ext4Super.blockBytes;
    if (end > device.sizeBytes) {
      throw damaged(`${device.name}: its file system ends at ${end}, it has ${device.sizeBytes}`);
    }
  }

  get tableBlocks(): number {
    const { inodesPerGroup, inodeBytes, blockBytes } = this.super;
    return Math.ceil((inodesPerGroup * inodeBytes) / blockBytes);
  }

  async group(number: number): Promise<Ext4Group> {
    const { groupCount, descriptorBytes, blockBytes, blocksPerGroup } = this.super;
    if (number < 0 || number >= groupCount) throw damaged(`${this.device.name}: group ${number}`);
    const perBlock = blockBytes / descriptorBytes;
    const block = this.#descriptorBlock(Math.floor(number / perBlock));
    const what = `the descriptors of group ${number}`;
    const fields = await this.#descriptors.get(block, () => this.block(block, what));
    const at = (number % perBlock) * descriptorBytes;
    const own = new Fields(fields.take(at, descriptorBytes), fields.what, 'little');
    this.#checkDescriptor(own, number);
    const isLong = descriptorBytes >= 64;
    const place = (low: number, high: number) => {
      const value = own.u32(low) + (isLong ? own.u32(high) * 2 ** 32 : 0);
      if (value < this.super.blockCount) return value;
      throw damaged(`${this.device.name}: group ${number} points to block ${value}`);
    };
    const firstBlock = this.super.firstDataBlock + number * blocksPerGroup;
    const flags = this.super.checksums === undefined ? TABLE_ZEROED : own.u16(0x12);
    const highSum = descriptorBytes >= HIGH_SUMS_BYTES ? own.u16(0x38) * 2 ** 16 : 0;
    return {
      number,
      firstBlock,
      blockCount: Math.min(blocksPerGroup, this.super.blockCount - firstBlock),
      blockBitmap: place(0x0, 0x20),
      inodeBitmap: place(0x4, 0x24),
      inodeTable: place(0x8, 0x28),
      areBlocksUninitialised: (flags & BLOCKS_UNINITIALISED) !== 0,
      areInodesUninitialised: (flags & INODES_UNINITIALISED) !== 0,
      isTableZeroed: (flags & TABLE_ZEROED) !== 0,
      unusedInodes: own.u16(0x1c) + (isLong ? own.u16(0x32) * 2 ** 16 : 0),
      bitmapChecksum: own.u16(0x18) + highSum,
    };
  }

  /** Blocks with a copy of the superblock, or of descriptors: the kernel's do not go to the log. */
  *copies(): Generator<{ readonly block: number; readonly count: number }> {
    const { groupCount, firstDataBlock, blocksPerGroup, descriptorBytes, blockBytes } = this.super;
    const perBlock = blockBytes / descriptorBytes;
    const descriptors = Math.ceil(groupCount / perBlock);
    for (let group = 0; group < groupCount; group++) {
      const start = firstDataBlock + group * blocksPerGroup;
      const inGroup = group % perBlock;
      const isMeta = this.super.hasMetaGroups && group >= this.super.firstMetaGroup * perBlock;
      const metaCopy = isMeta && (inGroup <= 1 || inGroup === perBlock - 1) ? 1 : 0;
      const rest = Math.min(
        descriptors,
        this.super.hasMetaGroups ? this.super.firstMetaGroup : 2 ** 32,
      );
      if (this.#hasSuper(group)) yield { block: start, count: 1 + (isMeta ? metaCopy : rest) };
      else if (metaCopy > 0) yield { block: start, count: metaCopy };
    }
  }

  /** A bit for each cluster of the group, set if it is in use. */
  async blocksInUse(group: Ext4Group): Promise<Bitmap> {
    const { blockBytes, clusterBytes, blocksPerGroup, checksums, checksumSeed } = this.super;
    const perCluster = clusterBytes / blockBytes;
    const what = `the bitmap of blocks of group ${group.number}`;
    const { bytes } = await this.block(group.blockBitmap, what);
    if (checksums === 'crc32c') {
      const sum = crc32c(checksumSeed, bytes.subarray(0, blocksPerGroup / perCluster / 8));
      const kept = this.super.descriptorBytes >= HIGH_SUMS_BYTES ? sum : sum & 0xffff;
      if (kept !== group.bitmapChecksum) {
        throw damaged(`${this.device.name}: ${what} has a wrong checksum`);
      }
    }
    const used = new Bitmap(Math.ceil(group.blockCount / perCluster));
    for (let bit = 0; bit < used.size; bit++) {
      const byte = bytes[bit >>> 3]!;
      if (byte === 0xff && (bit & 7) === 0 && bit + 8 <= used.size) {
        used.setRange(bit, 8);
        bit += 7;
      } else if (((byte >>> (bit & 7)) & 1) !== 0) used.set(bit);
    }
    return used;
  }

  async inode(number: number): Promise<Ext4Inode> {
    const { inodesPerGroup, inodeCount, inodeBytes, blockBytes } = this.super;
    if (number < 1 || number > inodeCount) throw damaged(`${this.device.name}: inode ${number}`);
    const { inodeTable } = await this.group(Math.floor((number - 1) / inodesPerGroup));
    const at = ((number - 1) % inodesPerGroup) * inodeBytes;
    const block = inodeTable + Math.floor(at / blockBytes);
    const fields = await this.block(block, `inode ${number}`);
    return inodeOf(this, number, fields.take(at % blockBytes, inodeBytes));
  }

  /** A block of the tree of a file. FS_LIMIT if so many are asked for that files share theirs. */
  treeBlock(number: number, what: string): Promise<Fields> {
    this.#treeReads += 1;
    if (this.#treeReads > this.super.blockCount * TREE_READS_PER_BLOCK_MAX) {
      throw tooMuch(`${this.device.name}: ${what}: trees of files go round in circles`);
    }
    return this.block(number, what);
  }

  /** One block; FS_DAMAGED if there is none of that number. */
  async block(number: number, what: string): Promise<Fields> {
    const { blockBytes, blockCount } = this.super;
    if (!(number >= 0 && number < blockCount)) {
      throw damaged(`${this.device.name}: ${what} is in block ${number} of ${blockCount}`);
    }
    const place = { offsetBytes: number * blockBytes, lengthBytes: blockBytes, what };
    return readFields(this.device, place, 'little');
  }

  /** Block `index` of the descriptors (ext4_sb_descriptor_loc in the kernel). */
  #descriptorBlock(index: number): number {
    const { firstDataBlock, firstMetaGroup, hasMetaGroups, blockBytes } = this.super;
    const { descriptorBytes, blocksPerGroup } = this.super;
    // Where blocks have 1 KiB and clusters are larger, block 0 is for the boot loader.
    const superBlock = blockBytes === 1024 ? 1 : 0;
    if (!hasMetaGroups || index < firstMetaGroup) return superBlock + 1 + index;
    const group = index * (blockBytes / descriptorBytes);
    const shift = this.#hasSuper(group) ? 1 : 0;
    const boot = index === 0 && blockBytes === 1024 && firstDataBlock === 0 ? 1 : 0;
    return firstDataBlock + group * blocksPerGroup + shift + boot;
  }

  #hasSuper(group: number): boolean {
    const { backupGroups, isSparse } = this.super;
    if (group === 0) return true;
    if (backupGroups !== undefined) return backupGroups.includes(group);
    if (group === 1 || !isSparse) return true;
    return [3, 5, 7].some((base) => isPowerOf(group, base));
  }

  #checkDescriptor(own: Fields, number: number): void {
    const { checksums, checksumSeed, uuid } = this.super;
    if (checksums === undefined) return;
    const wanted = own.u16(CHECKSUM_AT);
    const place = { at: CHECKSUM_AT, lengthBytes: 2 };
    let sum: number;
    if (checksums === 'crc32c') {
      const seed = crc32cOfU32(checksumSeed, number, 'little');
      sum = crc32cWithout(seed, own.bytes, place) & 0xffff;
    } else {
      const group = new Uint8Array(4);
      new DataView(group.buffer).setUint32(0, number, true);
      sum = crc16(crc16(0xffff, fromHex(uuid, 16)!), group);
      sum = crc16(sum, own.bytes.subarray(0, CHECKSUM_AT));
      sum = crc16(sum, own.bytes.subarray(CHECKSUM_AT + 2));
    }
    if (sum === wanted) return;
    throw damaged(`${this.device.name}: the descriptor of group ${number} has a wrong checksum`);
  }
}

function isPowerOf(value: number, base: number): boolean {
  let power = base;
  while (power < value) power *= base;
  return power === value;
}
