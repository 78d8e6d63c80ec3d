/** The superblock of ext4: what kind of file system it is, and how it was left. */
import { toHex } from '../core/index.ts';
import type { Device } from '../device/index.ts';
import { CRC_START, crc32c } from './crc32c.ts';
import { damaged, notFound, unsupported } from './errors.ts';
import type { Fields } from './fields.ts';
import { readFields } from './read-bytes.ts';

const SUPER_OFFSET = 1024;
const SUPER_BYTES = 1024;
const MAGIC = 0xef53;
const CHECKSUM_AT = 0x3fc;
const INODE_BYTES_OLD = 128;
const BLOCK_BITS_MAX = 6; // 64 KiB, counted from 1 KiB.

/** Bits of `compat`: what may be ignored by whoever only reads. */
const COMPAT = {
  hasJournal: 0x4,
  sparseSuper2: 0x200,
  fastCommit: 0x400,
} as const;
/** Bits of `incompat`: who does not know one must not read. */
const INCOMPAT = {
  recover: 0x4,
  journalDevice: 0x8,
  metaBlockGroups: 0x10,
  is64bit: 0x80,
  mmp: 0x100,
  checksumSeed: 0x2000,
} as const;
/** Filetype, recover, meta_bg, extents, 64bit, mmp, flex_bg, ea_inode, csum_seed, large_dir, */
/** inline_data, encrypt, casefold: what they change is known here, or does not matter here. */
const INCOMPAT_KNOWN =
  0x2 | 0x4 | 0x10 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x2000 | 0x4000 | 0x8000 | 0x30000;
const RO_COMPAT = {
  sparseSuper: 0x1,
  groupChecksums: 0x10,
  bigalloc: 0x200,
  checksums: 0x400,
} as const;

export type Ext4Super = {
  readonly uuid: string;
  readonly blockBytes: number;
  readonly clusterBytes: number;
  readonly blockCount: number;
  /** 1 where a block has 1 KiB, as block 0 is for the boot loader then; 0 otherwise. */
  readonly firstDataBlock: number;
  readonly blocksPerGroup: number;
  readonly groupCount: number;
  readonly inodeCount: number;
  readonly inodesPerGroup: number;
  readonly inodeBytes: number;
  readonly descriptorBytes: number;
  readonly firstMetaGroup: number;
  readonly hasMetaGroups: boolean;
  readonly isSparse: boolean;
  /** With sparse_super2 these two groups and no others have copies of the superblock. */
  readonly backupGroups: readonly [number, number] | undefined;
  /** 'crc32c' (metadata_csum), 'crc16' (uninit_bg), or none. */
  readonly checksums: 'crc32c' | 'crc16' | undefined;
  readonly checksumSeed: number;
  readonly hasJournal: boolean;
  readonly hasFastCommits: boolean;
  /** 0 if the journal is elsewhere. */
  readonly journalInode: number;
  /** Where multi-mount protection writes all the time. */
  readonly mmpBlock: number | undefined;
  /** It is mounted, or was not unmounted: the journal may have to be replayed. */
  readonly needsRecovery: boolean;
  /** Unmounted cleanly the last time, and without errors that were seen. */
  readonly isClean: boolean;
  readonly mountCount: number;
  /** Seconds since 1970, as its host's clock went: mounted, written, checked, made. */
  readonly mountedAt: number;
  readonly writtenAt: number;
  readonly checkedAt: number;
  readonly madeAt: number;
};

/** Whether there may be one: two bytes of a magic number, nothing more. */
export async function looksLikeExt4(device: Device): Promise<boolean> {
  if (device.sizeBytes < SUPER_OFFSET + SUPER_BYTES) return false;
  return (await readSuper(device)).u16(0x38) === MAGIC;
}

/** FS_NOT_FOUND if there is none, FS_UNSUPPORTED if it has features that are not known here. */
export async function readExt4Super(device: Device): Promise<Ext4Super> {
  if (!(await looksLikeExt4(device))) throw notFound(`${device.name} has no ext4 file system`);
  const fields = await readSuper(device);
  const [compat, incompat, roCompat] = [fields.u32(0x5c), fields.u32(0x60), fields.u32(0x64)];
  if ((incompat & INCOMPAT.journalDevice) !== 0) {
    throw unsupported(`${device.name} is a journal of another file system`);
  }
  if ((incompat & ~INCOMPAT_KNOWN) !== 0) {
    const bits = (incompat & ~INCOMPAT_KNOWN) >>> 0;
    throw unsupported(`${device.name}: features 0x${bits.toString(16)} of ext4 are not known`);
  }
  if (fields.u32(0x4c) === 0) throw unsupported(`${device.name} is of the first revision of ext2`);
  const hasChecksums = (roCompat & RO_COMPAT.checksums) !== 0;
  const sum = crc32c(CRC_START, fields.bytes.subarray(0, CHECKSUM_AT));
  if (hasChecksums && sum !== fields.u32(CHECKSUM_AT)) {
    throw damaged(`${fields.what} has a wrong checksum`);
  }
  const is64bit = (incompat & INCOMPAT.is64bit) !== 0;
  const hasSeed = (incompat & INCOMPAT.checksumSeed) !== 0;
  const backups = (compat & COMPAT.sparseSuper2) !== 0;
  return {
    ...geometryOf(fields, is64bit, (roCompat & RO_COMPAT.bigalloc) !== 0),
    uuid: toHex(fields.take(0x68, 16)),
    firstMetaGroup: fields.u32(0x104),
    hasMetaGroups: (incompat & INCOMPAT.metaBlockGroups) !== 0,
    isSparse: (roCompat & RO_COMPAT.sparseSuper) !== 0,
    backupGroups: backups ? [fields.u32(0x24c), fields.u32(0x250)] : undefined,
    checksums: hasChecksums ? 'crc32c' : hasGroupSums(roCompat) ? 'crc16' : undefined,
    checksumSeed: hasSeed ? fields.u32(0x270) : crc32c(CRC_START, fields.take(0x68, 16)),
    hasJournal: (compat & COMPAT.hasJournal) !== 0,
    hasFastCommits: (compat & COMPAT.fastCommit) !== 0,
    journalInode: fields.u32(0xe4) === 0 ? fields.u32(0xe0) : 0,
    mmpBlock: (incompat & INCOMPAT.mmp) !== 0 ? fields.u64(0x168) : undefined,
    needsRecovery: (incompat & INCOMPAT.recover) !== 0,
    isClean: (fields.u16(0x3a) & 3) === 1,
    mountCount: fields.u16(0x34),
    mountedAt: fields.u32(0x2c) + fields.u8(0x275) * 2 ** 32,
    writtenAt: fields.u32(0x30) + fields.u8(0x274) * 2 ** 32,
    checkedAt: fields.u32(0x40) + fields.u8(0x277) * 2 ** 32,
    madeAt: fields.u32(0x108) + fields.u8(0x276) * 2 ** 32,
  };
}

function hasGroupSums(roCompat: number): boolean {
  return (roCompat & RO_COMPAT.groupChecksums) !== 0;
}

function readSuper(device: Device): Promise<Fields> {
  const what = `${device.name}: the superblock`;
  return readFields(
    device,
    { offsetBytes: SUPER_OFFSET, lengthBytes: SUPER_BYTES, what },
    'little',
  );
}

/** Numbers that others are derived from: each is checked, so that no division is by zero. */
function geometryOf(fields: Fields, is64bit: boolean, isBigalloc: boolean) {
  const wrong = (text: string) => damaged(`${fields.what}: ${text}`);
  const bits = fields.u32(0x18);
  if (bits > BLOCK_BITS_MAX) throw wrong(`blocks of 2^${10 + bits} bytes`);
  const blockBytes = 1024 * 2 ** bits;
  const clusterBits = isBigalloc ? fields.u32(0x1c) : bits;
  if (clusterBits < bits || clusterBits > 20)
    throw wrong(`clusters of 2^${10 + clusterBits} bytes`);
  const clusterBytes = 1024 * 2 ** clusterBits;
  const high = is64bit ? fields.u32(0x150) : 0;
  const blockCount = high * 2 ** 32 + fields.u32(0x4);
  const firstDataBlock = fields.u32(0x14);
  const blocksPerGroup = fields.u32(0x20);
  const inodesPerGroup = fields.u32(0x28);
  const inodeBytes = fields.u16(0x58);
  const descriptorBytes = is64bit ? fields.u16(0xfe) : 32;
  const perCluster = clusterBytes / blockBytes;
  if (blocksPerGroup === 0 || blocksPerGroup / perCluster > blockBytes * 8) {
    throw wrong(`${blocksPerGroup} blocks per group`);
  }
  if (blocksPerGroup % perCluster !== 0) throw wrong(`groups of ${blocksPerGroup} blocks`);
  if (inodesPerGroup === 0 || inodesPerGroup > blockBytes * 8) {
    throw wrong(`${inodesPerGroup} inodes per group`);
  }
  const isPower = (inodeBytes & (inodeBytes - 1)) === 0;
  if (inodeBytes < INODE_BYTES_OLD || inodeBytes > blockBytes || !isPower) {
    throw wrong(`inodes of ${inodeBytes} bytes`);
  }
  const isDescriptor = (descriptorBytes & (descriptorBytes - 1)) === 0;
  if (descriptorBytes < (is64bit ? 64 : 32) || descriptorBytes > blockBytes || !isDescriptor) {
    throw wrong(`group descriptors of ${descriptorBytes} bytes`);
  }
  if (firstDataBlock > 1 || blockCount <= firstDataBlock) throw wrong(`${blockCount} blocks`);
  if (!Number.isSafeInteger(blockCount * blockBytes)) throw wrong(`${blockCount} blocks`);
  const groupCount = Math.ceil((blockCount - firstDataBlock) / blocksPerGroup);
  const inodeCount = fields.u32(0);
  if (inodeCount !== groupCount * inodesPerGroup) throw wrong(`${inodeCount} inodes`);
  return {
    ...{ blockBytes, clusterBytes, blockCount, firstDataBlock, blocksPerGroup, groupCount },
    ...{ inodeCount, inodesPerGroup, inodeBytes, descriptorBytes },
  };
}
