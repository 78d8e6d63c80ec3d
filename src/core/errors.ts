/** The root of every typed error: a code for programs, a message and a hint for people. */

export type FerryErrorOptions = {
  /** What a person can do about it, one sentence. */
  readonly hint: string;
  readonly cause?: unknown;
};

/**
 * Each layer has one subclass with a closed union of codes. `message` says what happened, with the
 * numbers, and to which object; `hint` says what to do. Codes are stable: tests, exit codes and
 * `--json` output rely on them, the wording of messages may change.
 */
export class FerryError<Code extends string = string> extends Error {
  readonly code: Code;
  readonly hint: string;

  constructor(code: Code, message: string, { hint, cause }: FerryErrorOptions) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.hint = hint;
  }
}

/** What the world outside the process can answer; Env maps POSIX numbers to these, once. */
export type EnvErrorCode =
  | 'ENV_NOT_FOUND'
  | 'ENV_EXISTS'
  | 'ENV_ACCESS'
  | 'ENV_NO_SPACE'
  | 'ENV_READ_ONLY'
  | 'ENV_IO'
  | 'ENV_NOT_A_DIRECTORY'
  | 'ENV_IS_A_DIRECTORY'
  | 'ENV_LIMIT'
  | 'ENV_UNSUPPORTED'
  | 'ENV_INVALID'
  | 'ENV_ADDRESS_IN_USE'
  | 'ENV_REFUSED'
  | 'ENV_CLOSED'
  | 'ENV_TIMEOUT'
  | 'ENV_TLS'
  | 'ENV_WORKER';

export class EnvError extends FerryError<EnvErrorCode> {
  override readonly name = 'EnvError';
}

/** Whether `error` carries `code`; the one way in which errors are told apart. */
export function hasCode(error: unknown, code: string): boolean {
  return error instanceof FerryError && error.code === code;
}

/** What `asked` comes to; undefined if there is no such file or folder. */
export async function unlessMissing<T>(asked: Promise<T>): Promise<T | undefined> {
  try {
    return await asked;
  } catch (error) {
    if (hasCode(error, 'ENV_NOT_FOUND')) return undefined;
    throw error;
  }
}

/** What a thrown value says, whatever it is. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
