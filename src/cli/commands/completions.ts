/** `ferry completions`: prints the completion script of a shell. */
import { completionScripts } from '../completions/index.ts';
import { usageError } from '../errors.ts';
import type { Run } from '../spec.ts';
import { commandGroups } from '../table/index.ts';
import type { completionsSpec } from '../table/shell.ts';

export const run: Run<typeof completionsSpec> = async ({ output }, { shell }) => {
  const script = completionScripts[shell];
  if (script === undefined) {
    const known = Object.keys(completionScripts).join(', ');
    throw usageError(
      `no completion for the shell '${shell}': ${known} are known`,
      'ferry completions',
    );
  }
  const commands = commandGroups.flatMap(({ entries }) => entries.map(({ spec }) => spec));
  const text = script(commands);
  output.item('summary', { shell, script: text }, text.trimEnd());
};
