/** Which exit status tells what: one table, so that scripts can rely on it. */
import type { CodecErrorCode } from '../codec/index.ts';
import { FerryError } from '../core/index.ts';
import type { StoreErrorCode } from '../store/index.ts';
import type { TrackErrorCode } from '../track/index.ts';
import type { TransferErrorCode } from '../transfer/index.ts';
import type { ReplicateErrorCode } from '../transfer/replicate/index.ts';
import type { CliErrorCode } from './errors.ts';

export const exitStatus = {
  done: 0,
  failed: 1,
  usage: 2,
  /** Done, but part of the source could not be read. */
  partial: 3,
  noRepository: 10,
  locked: 11,
  wrongPassword: 12,
  /** The volume is written elsewhere, or may be: this node must not. */
  fenced: 13,
  /** A damaged or missing object that the log names. */
  damage: 20,
  /** The audit found a change that its source had not told. */
  untoldChange: 21,
  /** SIGINT: 128 and its number, as shells do. */
  interrupted: 130,
  /** SIGPIPE's: whoever read the output went away. */
  outputClosed: 141,
  /** SIGTERM's. */
  terminated: 143,
} as const;

type Code =
  | CliErrorCode
  | CodecErrorCode
  | ReplicateErrorCode
  | StoreErrorCode
  | TrackErrorCode
  | TransferErrorCode;

/** Codes that are not here mean `failed`. */
const statusByCode: Readonly<Partial<Record<Code, number>>> = {
  CLI_USAGE: exitStatus.usage,
  CLI_CONFIG: exitStatus.usage,
  CLI_INTERRUPTED: exitStatus.interrupted,
  CLI_OUTPUT_CLOSED: exitStatus.outputClosed,
  CLI_TERMINATED: exitStatus.terminated,
  STORE_NOT_A_REPOSITORY: exitStatus.noRepository,
  STORE_NO_PASSWORD: exitStatus.wrongPassword,
  STORE_WRONG_PASSWORD: exitStatus.wrongPassword,
  CLI_PASSWORD: exitStatus.wrongPassword,
  STORE_BUSY: exitStatus.locked,
  STORE_OWNED: exitStatus.locked,
  TRACK_BUSY: exitStatus.locked,
  REPLICATE_FENCED: exitStatus.fenced,
  STORE_DAMAGED: exitStatus.damage,
  STORE_MISSING: exitStatus.damage,
  STORE_ROLLED_BACK: exitStatus.damage,
  CODEC_DAMAGED: exitStatus.damage,
  CODEC_MISMATCH: exitStatus.damage,
  TRANSFER_INTERRUPTED: exitStatus.interrupted,
};

export function statusOf(error: unknown): number {
  if (!(error instanceof FerryError)) return exitStatus.failed;
  return statusByCode[error.code as Code] ?? exitStatus.failed;
}
