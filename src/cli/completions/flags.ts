/** The options of a command as completion sees them: its own, then those of every command. */
import { globalOptions, longFlag } from '../global-options.ts';
import type { CommandSpec, OptionSpec } from '../spec.ts';

export type Flag = { readonly long: string; readonly option: OptionSpec };

export function flagsOf(command: CommandSpec): Flag[] {
  return Object.entries({ ...command.options, ...globalOptions }).map(([key, option]) => ({
    long: longFlag(key),
    option,
  }));
}

/** Whether the next word is the option's value. */
export function takesWord({ option }: Flag): boolean {
  return option.placeholder !== undefined && option.bareText === undefined;
}

/** What the command's arguments are completed with; one kind per command is enough. */
export function argumentCompletes(command: CommandSpec): 'file' | 'directory' | 'nothing' {
  const kinds = Object.values(command.arguments).map(({ completes }) => completes ?? 'nothing');
  return kinds.find((kind) => kind !== 'nothing') ?? 'nothing';
}
