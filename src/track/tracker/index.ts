/** track/tracker: marks before writes, cuts, and who has seen what; see README.md. */
export type { Lost } from './cursors.ts';
export type { DirtyMap } from './dirty-map.ts';
export type { Cut } from './epochs.ts';
export { BLOCK_BYTES } from './limits.ts';
export { Moment } from './moment.ts';
export { PreImages } from './pre-images.ts';
export type { Cursor, Identity } from './state.ts';
export {
  type FreezeOptions,
  type TrackedDevice,
  type TrackedOptions,
  tracked,
} from './tracked-device.ts';
export { type Holding, MOMENT_PREFIX, Tracker, type TrackerOptions } from './tracker.ts';
export {
  markOf,
  reasonOf,
  type Since,
  type StoppedTracker,
  stoppedTrackerSource,
  type Told,
  toldUpTo,
} from './tracker-source.ts';
