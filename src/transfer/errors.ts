/** What can go wrong on a journey between devices and repositories. */
import { FerryError } from '../core/index.ts';

export type TransferErrorCode =
  | 'TRANSFER_INTERRUPTED'
  | 'TRANSFER_SOURCE'
  | 'TRANSFER_REPOSITORY'
  | 'TRANSFER_TARGET'
  | 'TRANSFER_TARGET_SIZE'
  | 'TRANSFER_VERIFY'
  | 'TRANSFER_VOLUME_TAKEN'
  /** A repository is to be copied into itself. */
  | 'TRANSFER_SAME_REPOSITORY'
  /** What is encrypted would be stored in clear. */
  | 'TRANSFER_PLAIN_TARGET'
  | 'TRANSFER_UNREADABLE'
  /** A disk image cannot be read as what it is, or is being written. */
  | 'TRANSFER_IMAGE'
  | 'TRANSFER_PRICES'
  | 'TRANSFER_LAYER';

export class TransferError extends FerryError<TransferErrorCode> {
  override readonly name = 'TransferError';
}

/** Throws TRANSFER_INTERRUPTED once a person has asked to stop. */
export function checkInterrupted(signal: AbortSignal | undefined): void {
  if (!signal?.aborted) return;
  throw new TransferError('TRANSFER_INTERRUPTED', 'interrupted', {
    hint: 'Run the command again: it goes on from what is stored.',
  });
}
