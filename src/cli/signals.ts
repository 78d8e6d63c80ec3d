/** Signals: the first SIGINT stops cleanly, the second at once; SIGUSR1 asks for the status. */
import type { Clock } from '../core/index.ts';
import { CliError } from './errors.ts';
import { exitStatus } from './exit-codes.ts';

/**
 * Ctrl-C reaches the whole foreground group, and npm passes its own copy on to us: what comes
 * this soon after the first is the same wish, not a second one.
 */
const SAME_WISH_MS = 250;

/** The part of `process` that is used here. */
export type SignalSource = {
  on(name: NodeJS.Signals, handler: () => void): unknown;
  off(name: NodeJS.Signals, handler: () => void): unknown;
  exit(status: number): void;
};

export type Signals = Disposable & {
  /** Aborted with a CliError as its reason. */
  readonly signal: AbortSignal;
  /** Whatever else ends the command: the reader of its output has left. */
  stop(reason: CliError): void;
  /** Calls `handler` on each SIGUSR2, until disposed. */
  onCommit(handler: () => void): Disposable;
};

export function watchSignals(source: SignalSource, clock: Clock, onStatus: () => void): Signals {
  const controller = new AbortController();
  let firstMs = 0;

  function ask(reason: CliError, status: number): void {
    if (!controller.signal.aborted) {
      firstMs = clock.monotonicMs();
      controller.abort(reason);
    } else if (clock.monotonicMs() - firstMs > SAME_WISH_MS) {
      source.exit(status);
    }
  }

  const interrupt = () => ask(interrupted(), exitStatus.interrupted);
  const terminate = () => ask(terminated(), exitStatus.terminated);
  const handlers: readonly (readonly [NodeJS.Signals, () => void])[] = [
    ['SIGINT', interrupt],
    ['SIGTERM', terminate],
    ['SIGHUP', terminate],
    ['SIGUSR1', onStatus], // Node would open its debugger on it otherwise.
  ];
  for (const [name, handler] of handlers) source.on(name, handler);

  return {
    signal: controller.signal,
    stop: (reason) => controller.abort(reason),
    onCommit(handler) {
      source.on('SIGUSR2', handler);
      return { [Symbol.dispose]: () => void source.off('SIGUSR2', handler) };
    },
    [Symbol.dispose]() {
      for (const [name, handler] of handlers) source.off(name, handler);
    },
  };
}

function interrupted(): CliError {
  return new CliError('CLI_INTERRUPTED', 'interrupted', {
    hint: 'What was done so far is kept; run the same command again to go on.',
  });
}

function terminated(): CliError {
  return new CliError('CLI_TERMINATED', 'terminated by a signal', {
    hint: 'What was done so far is kept; run the same command again to go on.',
  });
}
