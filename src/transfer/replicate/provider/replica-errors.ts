/** What a replica refuses, in words. */
import { messageOf } from '../../../core/index.ts';
import { ReplicateError } from '../errors.ts';

export function nothingThere(volume: string): ReplicateError {
  const message = `no epoch of ${volume} is whole here: there is nothing to promote`;
  return new ReplicateError('REPLICATE_NOT_PROMOTED', message, {
    hint: 'Wait for the end of the first synchronisation.',
  });
}

export function journalFull(volume: string, bytes: number, bytesMax: number): ReplicateError {
  const message = `journals of ${volume} hold ${bytes} bytes, of ${bytesMax}, and no epoch ends`;
  return new ReplicateError('REPLICATE_JOURNAL_FULL', message, {
    hint: 'The agent comes again, and what was not committed makes room for it.',
  });
}

export function notTheAgents(volume: string, epoch: number, cause: unknown): ReplicateError {
  const message = `epoch ${epoch} of ${volume} is not what its agent has: no snapshot is made`;
  return new ReplicateError('REPLICATE_DIGEST', message, {
    hint: 'Compare both sides anew (`ferry replicate --once`), and report this.',
    cause,
  });
}

export function closed(volume: string): ReplicateError {
  return new ReplicateError('REPLICATE_CLOSED', `the replica of ${volume} is being closed`, {
    hint: 'Connect again.',
  });
}

export function loop(volume: string): ReplicateError {
  return new ReplicateError('REPLICATE_LOOP', `${volume} has come by this provider already`, {
    hint: 'Nothing is wrong: it is here. Providers may forward to each other.',
  });
}

export function unknownVolume(volume: string): ReplicateError {
  return new ReplicateError('REPLICATE_UNKNOWN_VOLUME', `no agent keeps ${volume} present here`, {
    hint: 'See `ferry ls` for the volumes of the repository.',
  });
}

export function closing(): ReplicateError {
  return new ReplicateError('REPLICATE_CLOSED', 'the provider is being stopped', {
    hint: 'Connect again later.',
  });
}

export function baseGone(volume: string, id: string): ReplicateError {
  const what = `${volume}@${id.slice(0, 8)}, on which the replica stands,`;
  return new ReplicateError('REPLICATE_BASE_GONE', `${what} was forgotten`, {
    hint: 'When its agent comes it is set aside, and begins anew from the newest snapshot.',
  });
}

export function putAside(volume: string, path: string, cause: unknown): ReplicateError {
  const message = `${messageOf(cause)}: ${volume} is kept in ${path}, and begins anew`;
  return new ReplicateError('REPLICATE_BASE_GONE', message, {
    hint: 'Its agent compares, and sends what is missing. Remove that folder when nobody needs it.',
    cause,
  });
}
