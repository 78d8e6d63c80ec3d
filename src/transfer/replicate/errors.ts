/** What can go wrong between an agent and the replica of its volume. */
import { FerryError } from '../../core/index.ts';

export type ReplicateErrorCode =
  /** The journal of a replica is damaged where it had been promised. */
  | 'REPLICATE_JOURNAL'
  /** The journal could not be written; nothing more is taken until it is opened again. */
  | 'REPLICATE_JOURNAL_FAILED'
  /** What came does not have the hash that it should have. */
  | 'REPLICATE_HASH'
  /** A reference names content that is not here. */
  | 'REPLICATE_UNKNOWN_CONTENT'
  /** The peer did what the protocol does not allow. */
  | 'REPLICATE_PROTOCOL'
  /** The epoch is told against another one than the replica has. */
  | 'REPLICATE_BASE'
  /** The volume belongs to another agent, or to a source of backups. */
  | 'REPLICATE_VOLUME_TAKEN'
  | 'REPLICATE_QUOTA'
  /** The journals of the volume hold more than it could need: an epoch never ends. */
  | 'REPLICATE_JOURNAL_FULL'
  /** The agent has no right to that. */
  | 'REPLICATE_DENIED'
  /** The volume has come through the provider to which it is forwarded. */
  | 'REPLICATE_LOOP'
  | 'REPLICATE_LIMIT'
  /** The snapshot below the journal is gone. */
  | 'REPLICATE_BASE_GONE'
  /** Both sides do not have the same content. */
  | 'REPLICATE_DIGEST'
  /** What is to be brought back has another size than the disk here. */
  | 'REPLICATE_SIZE'
  /** Another process serves this replica. */
  | 'REPLICATE_BUSY'
  /** Another session of the agent has taken the volume over. */
  | 'REPLICATE_TAKEN_OVER'
  /** The provider could not do what was asked; `remoteCode` says why. */
  | 'REPLICATE_REFUSED'
  /** Another side writes the volume, or may: this one must not. */
  | 'REPLICATE_FENCED'
  /** Its agent is not here: promoting it may lose what that has not sent. */
  | 'REPLICATE_NO_CONTACT'
  /** The other side has forgotten what it had made durable: its disk is an older copy. */
  | 'REPLICATE_WENT_BACK'
  /** The volume is still written by its agent. */
  | 'REPLICATE_NOT_PROMOTED'
  /** A planned move did not come about; whoever wrote before writes on. */
  | 'REPLICATE_NOT_MOVED'
  | 'REPLICATE_UNKNOWN_VOLUME'
  /** The session with the provider is over. */
  | 'REPLICATE_CLOSED'
  | 'REPLICATE_STATE';

export class ReplicateError extends FerryError<ReplicateErrorCode> {
  override readonly name = 'ReplicateError';
  /** The code in the provider's answer. */
  readonly remoteCode: string | undefined;

  constructor(
    code: ReplicateErrorCode,
    message: string,
    options: { readonly hint: string; readonly cause?: unknown; readonly remoteCode?: string },
  ) {
    super(code, message, options);
    this.remoteCode = options.remoteCode;
  }
}

export function protocolBreach(message: string): ReplicateError {
  return new ReplicateError('REPLICATE_PROTOCOL', message, {
    hint: 'The peer is faulty or of another version; compare versions on both sides.',
  });
}

/** Of a provider that has an older epoch than the one that it had acknowledged. */
export function wentBack(volume: string, epoch: number, before: number): ReplicateError {
  const message = `the provider has epoch ${epoch} of ${volume}, and had ${before} before`;
  return new ReplicateError('REPLICATE_WENT_BACK', message, {
    hint: 'Its disk is an older copy of itself. The volume is compared, and is there again soon.',
  });
}

export function damagedJournal(path: string, what: string, cause?: unknown): ReplicateError {
  return new ReplicateError('REPLICATE_JOURNAL', `the journal ${path} is damaged: ${what}`, {
    hint: 'Move its folder away: the replica begins anew from its newest snapshot.',
    cause,
  });
}
