/** The named limits of the profile, each with its reason. */

/** What is told apart: the default chunk, so that what is hot is what would be sent. */
export const PROFILE_REGION_BYTES_MIN = 64 * 1024;

/** Region numbers are 31 bits: volumes beyond 128 TiB have larger regions. */
export const PROFILE_REGIONS_MAX = 2 ** 31;

/** An access of so long ago counts half: an hour, so that a lunch break is not a new workload. */
export const HALF_LIFE_SECONDS = 3600;

/** Weights are scaled down after so many half-lives; floats of 32 bits bear 126. */
export const HALF_LIVES_PER_SCALE = 32;

/** Regions that are counted one by one: a volume of 2 GiB as a whole; 2 MiB of memory. */
export const KNOWN_REGIONS_MAX = 32_768;

/** Places where one region may be in the table: 8 keys lie in half a line of the cache. */
export const WAYS = 8;

/** Of the sketch: an estimate is too high by e/16384 of all in it, with probability 1 - e^-4. */
export const SKETCH_WIDTH = 16_384;
export const SKETCH_ROWS = 4;

/** Regions whose last access is kept for the working set; of larger volumes it is a sample. */
export const SAMPLED_REGIONS_MAX = 32_768;

/** How often the clock is looked at, and weights move. */
export const PROFILE_TICK_MS = 1000;

/** What a kill may cost: 3 MiB are written when something was counted, and it is so long ago. */
export const PROFILE_SAVE_MS = 300_000;

/** The largest there is has 3 MiB. */
export const PROFILE_BYTES_MAX = 8 * 2 ** 20;
