/** Completion for fish. */
import type { CommandSpec } from '../spec.ts';
import { argumentCompletes, type Flag, flagsOf, takesWord } from './flags.ts';

export function fishScript(commands: readonly CommandSpec[]): string {
  return [
    '# fish completion for ferry; made by `ferry completions fish`',
    'complete -c ferry -f',
    ...commands.map(
      ({ name, summary }) =>
        `complete -c ferry -n __fish_use_subcommand -a ${name} -d ${quoted(summary)}`,
    ),
    ...commands.flatMap(linesOf),
    '',
  ].join('\n');
}

function linesOf(command: CommandSpec): string[] {
  const when = `complete -c ferry -n '__fish_seen_subcommand_from ${command.name}'`;
  const words = argumentCompletes(command) === 'nothing' ? [] : [`${when} -F`];
  return [...words, ...flagsOf(command).map((flag) => `${when} ${flagWords(flag)}`)];
}

function flagWords(flag: Flag): string {
  const { long, option } = flag;
  const short = option.short === undefined ? '' : `-s ${option.short} `;
  const choices = option.choices === undefined ? '' : ` -a ${quoted(option.choices.join(' '))}`;
  const files = option.completes === 'file' || option.completes === 'directory' ? ' -F' : '';
  const value = takesWord(flag) ? ` -r${choices}${files}` : '';
  return `${short}-l ${long.slice(2)}${value} -d ${quoted(option.help)}`;
}

function quoted(text: string): string {
  return `'${text.replace(/\\/g, '\\\\').replace(/'/g, `\\'`)}'`;
}
