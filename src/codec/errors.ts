/** What can go wrong while bytes are packed or unpacked. */
import { FerryError } from '../core/index.ts';

export type CodecErrorCode =
  /** Stored bytes do not decode: damage, or not ours. */
  | 'CODEC_DAMAGED'
  /** Decoded bytes do not have the hash that names them. */
  | 'CODEC_MISMATCH'
  /** A worker thread died; the job it held is lost. */
  | 'CODEC_WORKER';

export class CodecError extends FerryError<CodecErrorCode> {
  override readonly name = 'CodecError';
}

export function damaged(message: string, cause?: unknown): CodecError {
  return new CodecError('CODEC_DAMAGED', message, {
    hint: 'The stored bytes changed since they were written: run `ferry check --read-data`.',
    cause,
  });
}
