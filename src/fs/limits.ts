/** The bounds of what a parser takes from a disk, each with its reason. */

/** qcow2: QEMU's own limit of the active table (QCOW_MAX_L1_SIZE): it maps 2^53 bytes and more. */
export const L1_BYTES_MAX = 32 * 1024 * 1024;

/** qcow2: QEMU refuses more (QCOW_MAX_SNAPSHOTS). */
export const SNAPSHOTS_MAX = 65_536;

/** qcow2: QEMU refuses a longer table of snapshots (QCOW_MAX_SNAPSHOTS_SIZE is 64 MiB). */
export const SNAPSHOT_TABLE_BYTES_MAX = 64 * 1024 * 1024;

/** qcow2: as in its specification, "Header extension bitmaps". */
export const BITMAPS_MAX = 65_535;
export const BITMAP_DIRECTORY_BYTES_MAX = BITMAPS_MAX * 1024;

/** qcow2: one bitmap in memory: that of 8 PiB in granules of 4 MiB, or of 4 TiB in 16 KiB. */
export const BITMAP_BYTES_MAX = 256 * 1024 * 1024;

/** qcow2: a chain of backing files that is longer is a loop, or should be shortened. */
export const BACKING_CHAIN_MAX = 64;

/** qcow2: tables kept in memory; 16 MiB of 64 KiB tables map 128 GiB in clusters of 64 KiB. */
export const TABLE_CACHE_BYTES = 16 * 1024 * 1024;

/** What one call of a parser reads at most. */
export const READ_BYTES_MAX = 64 * 1024 * 1024;

/** Partitions: what GPT asks for is 16 KiB; 1,024 entries of 1 KiB are more than enough. */
export const GPT_ENTRIES_BYTES_MAX = 1024 * 1024;
/** Partitions: Linux names no more than 255 of one disk. */
export const LOGICAL_PARTITIONS_MAX = 255;

/** ext4: blocks of group descriptors in memory; each describes 64 groups or more, 8 GiB. */
export const DESCRIPTOR_BLOCKS_KEPT = 64;

/** ext4: the kernel refuses deeper trees of extents (EXT4_MAX_EXTENT_DEPTH). */
export const EXTENT_DEPTH_MAX = 5;

/**
 * ext4: blocks of trees and pointers that are read, for each block that there is. They belong to
 * one file each; a few are read again.
 */
export const TREE_READS_PER_BLOCK_MAX = 2;

/** jbd2: what e2fsprogs and the kernel's tools take at most (JBD2_MAX_JOURNAL_BLOCKS). */
export const LOG_BLOCKS_MAX = 10_240_000;
/** jbd2: read at a time. */
export const LOG_READ_BYTES = 1024 * 1024;
/** jbd2: blocks that are named in one walk: a whole journal of 4 GiB. */
export const LOGGED_BLOCKS_MAX = 2 ** 20;
