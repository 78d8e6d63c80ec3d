/** What every command is handed besides its own values. */
import type { Env } from '../core/index.ts';
import type { Output } from './output.ts';
import type { Secrets } from './secrets.ts';
import type { Settings } from './settings.ts';

export type Context = {
  readonly env: Env;
  readonly output: Output;
  readonly settings: Settings;
  readonly secrets: Secrets;
  /**
   * Aborted by SIGINT, SIGTERM or a closed stdout, with the error that is to be shown as its
   * reason: a command that has stopped cleanly throws `signal.reason`. One that serves until it is
   * told to stop returns instead, and exits with 0.
   */
  readonly signal: AbortSignal;
  /** Calls `handler` on each SIGUSR2 until disposed; without any, that signal ends the process. */
  onCommitSignal(handler: () => void): Disposable;
};
