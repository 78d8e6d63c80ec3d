/** The named limits of device, each with its reason. */

/** Granule in which a memory device takes and gives back memory: few of them, little waste. */
export const MEMORY_SLAB_BYTES = 2 ** 20;

/** Zeroes that one write call carries where a hole cannot be punched; one shared buffer. */
export const ZERO_WRITE_BYTES = 2 ** 20;

/** Most that is punched in one go: the call is synchronous, others want their turn between two. */
export const PUNCH_BYTES_MAX = 2 ** 30;

/** Pieces of a file that are looked for in one go: some 10 us each, and others want their turn. */
export const EXTENTS_AT_ONCE = 32;

/** Reads that one request may have in flight below an overlay whose blocks alternate. */
export const RUNS_IN_FLIGHT_MAX = 16;

/** Text that names the base of a kept layer: room for digests and URIs in the map's header. */
export const IDENTITY_BYTES_MAX = 2048;

/** What one call has fetched ahead; the rest of a longer range is the next call's. */
export const PREFETCH_BYTES_MAX = 32 * 2 ** 20;

/** One read of a prefetch: long enough for disks, short enough to let others have their turn. */
export const PREFETCH_BYTES_PER_READ = 256 * 2 ** 10;

/** Devices are read ahead by so many calls at once, in the whole process: 4 MiB of buffers. */
export const PREFETCHES_AT_ONCE_MAX = 16;

/** Unit of copying up and of marks in a copy-on-write device: the block of change tracking. */
export const COPY_BLOCK_BYTES = 4096;

/** Pages of a kept layer's map that are read at once: 1 MiB, few calls also for large maps. */
export const MAP_PAGES_PER_READ = 256;
