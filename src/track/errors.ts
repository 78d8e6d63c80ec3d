/** What can go wrong while changes are tracked or looked for. */
import { FerryError } from '../core/index.ts';

export type TrackErrorCode =
  | 'TRACK_CANNOT_SAY' // The one source that was asked for cannot say what changed.
  | 'TRACK_STATE' // What a tracker keeps cannot be read or written.
  | 'TRACK_ROOM' // What is overwritten before it is read does not fit; or it was not kept.
  | 'TRACK_QMP' // QEMU refused a command, or did not answer.
  | 'TRACK_BUSY' // Another process has this volume's tracker, or backs up the same disk of QEMU.
  | 'TRACK_SOURCE'; // There is no such source for this volume.

export class TrackError extends FerryError<TrackErrorCode> {
  override readonly name = 'TrackError';
}

export function tooLarge(sizeBytes: number, maxBytes: number): TrackError {
  return new TrackError(
    'TRACK_QMP',
    `a disk of ${sizeBytes} bytes; at most ${maxBytes} are taken`,
    {
      hint: 'Export it over NBD, and back that up.',
    },
  );
}
