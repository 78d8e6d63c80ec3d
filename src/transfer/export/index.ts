/** transfer/export: a live volume, tracked, whose moments others may read; see README.md. */
export { ControlServer } from './control-server.ts';
export { onlyMoments } from './only-moments.ts';
export {
  controlSocket,
  identityOf,
  socketDirectory,
  trackerDirectory,
} from './places.ts';
export {
  exportOfFile,
  exportOfVolume,
  fenceExport,
  forgetForNbd,
  markForNbd,
  type RunningExport,
  runningExportSource,
  runningExports,
  saveProfile,
  standingOf,
} from './running-export.ts';
export { type TrackedExport, type TrackedExportOptions, trackedExport } from './tracked-export.ts';
