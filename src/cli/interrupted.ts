/** What an interruption means for one command, in place of the general words. */
import { hasCode } from '../core/index.ts';
import { CliError, type CliErrorCode } from './errors.ts';

/**
 * What to throw instead of `error`: if it only says that `signal` was obeyed, an error with the
 * same exit status that tells what is left and what to do.
 */
export function interruption(
  error: unknown,
  signal: AbortSignal,
  words: { readonly message: string; readonly hint: string },
): unknown {
  if (!signal.aborted || !(signal.reason instanceof CliError)) return error;
  if (error !== signal.reason && !hasCode(error, 'TRANSFER_INTERRUPTED')) return error;
  const { code, message } = signal.reason as { code: CliErrorCode; message: string };
  return new CliError(code, `${message}: ${words.message}`, { hint: words.hint, cause: error });
}
