/** A volume belongs to the source of its newest snapshot. */
import type { Repository } from '../../store/index.ts';
import { TransferError } from '../errors.ts';

/**
 * TRANSFER_VOLUME_TAKEN if another source has this name; a name that was asked for is not checked.
 */
export function checkOwner(repository: Repository, volume: string, origin: string): void {
  const newest = repository.latest(volume);
  if (newest === undefined || newest.origin === origin) return;
  throw new TransferError(
    'TRANSFER_VOLUME_TAKEN',
    `the volume ${volume} belongs to another source`,
    { hint: `If this is the same disk in another place, say so with --name ${volume}.` },
  );
}
