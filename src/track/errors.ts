/** What can go wrong while changes are tracked or looked for. */
import { FerryError } from '../core/index.ts';

export type TrackErrorCode =
  | 'TRACK_CANNOT_SAY' // The one source that was asked for cannot say what changed.
  | 'TRACK_STATE' // What a tracker keeps cannot be read or written.
  | 'TRACK_ROOM' // What is overwritten before it is read does not fit; or it was not kept.
  | 'TRACK_BUSY' // Another process has this volume's tracker.
  | 'TRACK_SOURCE'; // There is no such source for this volume.

export class TrackError extends FerryError<TrackErrorCode> {
  override readonly name = 'TrackError';
}
