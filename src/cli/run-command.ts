/** Runs one parsed command: builds its context, watches signals, turns failures into a status. */
import { type Env, hasCode } from '../core/index.ts';
import type { Invocation } from './command-line.ts';
import { CliError, showError } from './errors.ts';
import { exitStatus } from './exit-codes.ts';
import { output as outputTo } from './output.ts';
import { secretsFrom } from './secrets.ts';
import { settingsFrom } from './settings.ts';
import { watchSignals } from './signals.ts';
import type { Run } from './spec.ts';
import type { Terminal } from './terminal.ts';

/** What surrounds a command; `variables` is the environment of its process. */
export type World = {
  readonly env: Env;
  readonly terminal: Terminal;
  readonly variables: Readonly<Record<string, string | undefined>>;
};

/** The exit status; never throws. */
export async function runCommand(
  invocation: Invocation,
  { env, terminal, variables }: World,
): Promise<number> {
  const { entry, values, global } = invocation;
  const { json, quiet, verbose, noProgress } = global;
  const output = outputTo(terminal, env.clock, { json, quiet, verbose, progress: !noProgress });
  using signals = watchSignals(process, env.clock, () => output.printState());
  const { signal } = signals;
  terminal.onOutputClosed(() => signals.stop(outputClosed()));
  try {
    const settings = settingsFrom(global, variables);
    const secrets = secretsFrom(variables, terminal);
    const { run } = (await entry.load()) as { run: Run<typeof entry.spec> };
    const status = await run(
      { env, output, settings, secrets, signal, onCommitSignal: signals.onCommit },
      values as never,
    );
    return status ?? exitStatus.done;
  } catch (error) {
    output.hideProgress();
    // Deeper layers only know that they were stopped; the signal's reason says by what.
    const shown = signal.aborted && isStop(error, signal) ? signal.reason : error;
    return showError(shown, terminal, { json, verbose });
  }
}

function isStop(error: unknown, signal: AbortSignal): boolean {
  if (error === signal.reason || hasCode(error, 'TRANSFER_INTERRUPTED')) return true;
  return error instanceof Error && error.name === 'AbortError';
}

function outputClosed(): CliError {
  return new CliError('CLI_OUTPUT_CLOSED', 'the reader of the output went away', {
    hint: 'What was done so far is kept; run the same command again to go on.',
  });
}
