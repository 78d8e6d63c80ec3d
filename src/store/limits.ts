/** The bounds of the repository format; docs/format.md repeats them. */
import assert from 'node:assert/strict';

const KiB = 1024;
const MiB = 1024 * KiB;

/** The random name of a pack. */
export const PACK_ID_BYTES = 32;

/** A pack is sealed at the first frame that ends behind this. */
export const PACK_TARGET_BYTES = 32 * MiB;

/** What a reader accepts: the target, the frames in flight when it was reached, the table. */
export const PACK_BYTES_MAX = 256 * MiB;

/** Records of one pack; a 64 MiB pack of 1 KiB patches stays far below. */
export const PACK_RECORDS_MAX = 1 << 20;

/** A pack of many tiny records is sealed when it has this many, whatever it weighs. */
export const PACK_RECORDS_TARGET = 1 << 18;

/** Encoded chunk table: at most about 50 bytes per record. */
export const PACK_TABLE_BYTES_MAX = 64 * MiB;

/** Decoded chunk tables kept in memory, by their bytes. */
export const TABLE_CACHE_BYTES = 32 * MiB;

/** One leaf of the manifest covers this much of the volume. */
export const LEAF_BYTES = 8 * MiB;

/** Children of an inner node. */
export const FANOUT = 256;

/** A tree record is closed when it has grown beyond this. */
export const TREE_RECORD_TARGET = 192 * KiB;

/** What a reader accepts of one tree record, ids expanded: a leaf of 4 KiB pieces holds 64 KiB. */
export const TREE_RECORD_BYTES_MAX = 1 * MiB;

/** Decoded tree records kept in memory, by their bytes. */
export const TREE_CACHE_BYTES = 32 * MiB;

/** Resolved inner nodes, and as much again of leaves, kept in memory, by their bytes. */
export const NODE_CACHE_BYTES = 16 * MiB;

/** Patches that one manifest node may stand on, one upon the other. */
export const NODE_DEPTH_MAX = 8;

/** Decoded frames kept in memory by one open snapshot. */
export const FRAME_CACHE_BYTES = 48 * MiB;

/** Frames of one backup, restore, copy or check that are kept for what comes next. */
export const FRAMES_KEPT_BYTES = 20 * MiB;

/** Frames of packs that are being written, kept for chunks that will be patches against theirs. */
export const HELD_FRAMES_BYTES = 8 * MiB;

/** Small objects: superblock, log entry, session. */
export const SMALL_OBJECT_BYTES_MAX = 16 * MiB;

/** Index segments. */
export const LARGE_OBJECT_BYTES_MAX = 1024 * MiB;

/** Checkpoints that one state is read from: who forges some takes no more of whoever opens. */
export const CHECKPOINT_BYTES_MAX = 256 * MiB;

/** JSON in a checkpoint: parsing takes many times as much memory. */
export const CHECKPOINT_JSON_BYTES_MAX = 64 * MiB;

/** Snapshots of one checkpoint, about 400 MiB in memory; beyond, the log is read instead. */
export const CHECKPOINT_SNAPSHOTS_MAX = 1_000_000;

/** Damaged checkpoints that are passed over; then the log is read from its beginning. */
export const CHECKPOINTS_TRIED_MAX = 8;

/** A log entry lists at most this many packs itself; beyond, an index segment does. */
export const ENTRY_PACKS_MAX = 64;

/** Snapshots that one entry forgets, holds or tags; more take more entries. */
export const ENTRY_SNAPSHOTS_MAX = 10_000;

/** Packs that no segment covers yet; a writer that finds more merges them into one. */
export const LOOSE_PACKS_MAX = 32;

/** Segments with room for more; a writer that finds so many merges some. */
export const SEGMENTS_MAX = 8;

/** Records of one segment, 32 MiB of them; a larger pack has one of its own. */
export const SEGMENT_RECORDS_MAX = 1 << 22;

/** A checkpoint is written after so many log entries, most with only what is new since another. */
export const CHECKPOINT_INTERVAL = 64;

/**
 * A session that began more generations ago than this commits no more; fences are remembered for
 * as many, so that none is forgotten before it has become needless.
 */
export const GENERATIONS_BEHIND_MAX = 16;

/** How often a writer shows that it lives where the store has no locks. */
export const SESSION_BEAT_MS = 20_000;

/** A pack of which less than this share is needed is rewritten. */
export const PACK_USED_MIN = 0.6;

/** Packs that one step of garbage collection condemns: its entry must stay small. */
export const CONDEMNED_MAX = 50_000;

/** Checkpoints that one may stand upon, one upon the other: twice the logarithm of any log. */
export const CHECKPOINT_CHAIN_MAX = 128;

/** Log entries that are read at once from a store far away; each may be a small object. */
export const LOG_READS_MAX = 8;
/** And from a store that is near: as many as threads of the pool. */
export const NEAR_LOG_READS = 4;

/** How often a commit is tried against other writers before STORE_BUSY. */
export const COMMIT_ATTEMPTS_MAX = 1000;

/** Repositories whose head one node remembers; beyond, those seen longest ago are forgotten. */
export const HEADS_REMEMBERED_MAX = 4096;

/** Passwords of one repository: each that does not fit costs an attempt when it is opened. */
export const KEYS_MAX = 16;

/** What deriving from a password may cost, whatever a key object says: memory, steps of scrypt. */
export const KDF_MEMORY_BYTES_MAX = 256 * MiB;
export const KDF_STEPS_MAX = 2 ** 22;

/** What parity knows of a pack piece by piece: a sector of most disks. */
export const STRIPE_BYTES = 4 * KiB;

/** Stripes of a pack that parity stripes are made from together, so that a share is a count. */
export const PARITY_DATA_ROWS_MAX = 100;

/** Parity stripes for those, in percent. */
export const PARITY_PERCENT_MAX = 50;

/** Packs whose repaired stripes an open repository remembers, while it reads from them. */
export const HEALED_PACKS_MAX = 16;

/** Names of volumes, tags and the like. */
export const NAME_BYTES_MAX = 128;

assert(LEAF_BYTES % (64 * KiB) === 0);
assert(PACK_RECORDS_TARGET * 2 <= PACK_RECORDS_MAX, 'frames in flight must still fit');
