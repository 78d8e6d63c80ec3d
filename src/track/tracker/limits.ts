/** The named limits of the tracker, each with its reason. */

/** The unit of tracking: a page of the guest's cache, a block of its file systems. */
export const BLOCK_BYTES = 4096;

/** What one durable mark covers: few marks for a steady writer, little to read after a crash. */
export const REGION_BYTES_MIN = 4 * 2 ** 20;

/** Larger volumes get larger regions: their states are flat arrays, scanned as a whole. */
export const REGIONS_MAX = 65_536;

/** Marked at a time: what a crash makes us compare, 4 GiB of 4 MiB regions; then the LRU goes. */
export const HOT_REGIONS_MAX = 1024;

/** Cleaned in one go when there are too many: the search for the oldest ones is shared. */
export const REGIONS_CLEANED_AT_ONCE = 64;

/** Not written for so long: cleaned, so that a crash at a quiet time costs nothing. */
export const REGION_IDLE_MS = 10_000;

/** How often idle regions are looked for, and the clock of the LRU moves. */
export const TICK_MS = 1000;

/** A range that spans more regions is changed in parts, so that they need not be marked at once. */
export const REGIONS_PER_CALL_MAX = 256;

/** 32 MiB for each TiB: one bit for each block, all maps of a tracker together. */
export const PAGE_BYTES_PER_VOLUME_BYTE = 1 / (8 * BLOCK_BYTES);

/** Small volumes may have all their maps exact. */
export const PAGE_BYTES_MIN = 2 ** 20;

/** Of an epoch's zeroed and discarded stretches; what is beyond counts as written. */
export const EMPTIES_MAX = 16_384;

/** The log is written anew when it has grown to this, or to twice what it began with. */
export const LOG_BYTES_MIN = 2 ** 20;

/** Repositories, providers, NBD clients of one volume; with one more the furthest behind goes. */
export const CONSUMERS_MAX = 16;

/** Cuts that are in use at the same time: each keeps a border between sets. */
export const PINS_MAX = 32;

/** Reasons kept for consumers that were left behind. */
export const BROKEN_MAX = 64;

/** A cursor that is so many cuts old is given up: comparing once is less than carrying it along. */
export const EPOCHS_BEHIND_MAX = 100_000;

/** A log or a set is read whole: twice what all pages of the largest map take, and the rest. */
export const STATE_BYTES_MAX = 2 ** 31;

/** One record; a page of the largest region there can be has 4 MiB. */
export const RECORD_BYTES_MAX = 16 * 2 ** 20;

/** Names of consumers, as they come from outside. */
export const CONSUMER_NAME_BYTES_MAX = 256;

/** What is read of a range before it is changed; a larger one is kept in steps. */
export const KEEP_BYTES_PER_READ = 2 ** 20;

/** Blocks kept aside for one moment in memory, before they go to a file. */
export const KEPT_MEMORY_BYTES_MAX = 32 * 2 ** 20;

/** Blocks kept aside for one moment in all, unless a person says otherwise. */
export const KEPT_ROOM_BYTES = 4 * 2 ** 30;

/** Blocks of one layer of pre-images; their places take 40 bytes each, kept or not. */
export const PRE_IMAGES_PER_LAYER_MAX = 262_144;

/** Cuts since the oldest one that somebody holds; with more of them that one is given up. */
export const PRE_IMAGE_LAYERS_MAX = 64;
