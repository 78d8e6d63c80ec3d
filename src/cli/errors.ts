/** The errors of the command line itself, and how any error is shown. */
import { FerryError, messageOf } from '../core/index.ts';
import { statusOf } from './exit-codes.ts';
import { plainText } from './plain-text.ts';
import type { Terminal } from './terminal.ts';

export type CliErrorCode =
  | 'CLI_USAGE'
  | 'CLI_PASSWORD'
  | 'CLI_NO_PROVIDER'
  | 'CLI_CONFIG'
  | 'CLI_INTERRUPTED'
  | 'CLI_TERMINATED'
  | 'CLI_OUTPUT_CLOSED';

export class CliError extends FerryError<CliErrorCode> {
  override readonly name = 'CliError';
}

/** What a person typed cannot be meant. `command` begins its command line: `ferry ls`. */
export function usageError(message: string, command = 'ferry', cause?: unknown): CliError {
  return new CliError('CLI_USAGE', message, { hint: `See \`${command} --help\`.`, cause });
}

export type ShowOptions = { readonly json: boolean; readonly verbose: boolean };

/** Prints `error` on stderr, for people or as a JSON line, and answers with the exit status. */
export function showError(error: unknown, terminal: Terminal, options: ShowOptions): number {
  const status = statusOf(error);
  // Nobody is there to read it: the reader of our output left first.
  if (error instanceof CliError && error.code === 'CLI_OUTPUT_CLOSED') return status;
  const { code, message, hint } = describe(error);
  if (options.json) {
    const line = { message_type: 'error', code, message, hint };
    terminal.writeError(`${JSON.stringify(line)}\n`);
    return status;
  }
  terminal.writeError(plainText(`ferry: ${message}\n  ${hint}\n`));
  if (options.verbose) terminal.writeError(plainText(details(error)));
  return status;
}

function describe(error: unknown): { code: string; message: string; hint: string } {
  if (error instanceof FerryError) {
    return { code: error.code, message: error.message, hint: error.hint };
  }
  const text = messageOf(error);
  return {
    code: 'INTERNAL',
    message: `internal error: ${text}`,
    hint: 'This is a defect of Blockferry. Please report it with the output of --verbose.',
  };
}

/** The chain of causes; stacks only where they are not an answer to known circumstances. */
function details(error: unknown): string {
  let lines = '';
  let current = error;
  for (let depth = 0; current instanceof Error && depth < 8; depth += 1) {
    const shown =
      current instanceof FerryError ? `${current.code}: ${current.message}` : stackOf(current);
    lines += `  ${depth === 0 ? 'error' : 'cause'}: ${shown}\n`;
    current = current.cause;
  }
  return lines;
}

function stackOf(error: Error): string {
  return error.stack ?? String(error);
}
