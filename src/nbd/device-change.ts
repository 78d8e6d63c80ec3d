/** Turns a request that changes, flushes or advises into the device's call. */
import { type Answer, type Device, FAST_ZERO, FUA, NO_HOLE, prefetch } from '../device/index.ts';
import {
  COMMAND_CACHE,
  COMMAND_FLUSH,
  COMMAND_TRIM,
  COMMAND_WRITE,
  COMMAND_WRITE_ZEROES,
  FLAG_FAST_ZERO,
  FLAG_FUA,
  FLAG_NO_HOLE,
} from './constants.ts';
import type { Job } from './jobs.ts';

export function changeDevice(device: Device, job: Job): Answer {
  const { offsetBytes, lengthBytes, flags } = job;
  const fua = (flags & FLAG_FUA) !== 0 ? FUA : 0;
  switch (job.command) {
    case COMMAND_WRITE:
      return device.write(job.payload!, offsetBytes, fua);
    case COMMAND_FLUSH:
      return device.flush();
    case COMMAND_TRIM:
      return device.trim(lengthBytes, offsetBytes, fua);
    case COMMAND_WRITE_ZEROES: {
      const keep = (flags & FLAG_NO_HOLE) !== 0 ? NO_HOLE : 0;
      const fast = (flags & FLAG_FAST_ZERO) !== 0 ? FAST_ZERO : 0;
      return device.zero(lengthBytes, offsetBytes, fua | keep | fast);
    }
    case COMMAND_CACHE:
      return prefetch(device, lengthBytes, offsetBytes);
    default:
      return undefined;
  }
}
