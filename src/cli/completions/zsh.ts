/** Completion for zsh. */
import type { ArgumentSpec, CommandSpec, Completes } from '../spec.ts';
import { type Flag, flagsOf } from './flags.ts';

const actionOf: Readonly<Record<Completes, string>> = {
  file: '_files',
  directory: '_files -/',
  nothing: ' ',
};

export function zshScript(commands: readonly CommandSpec[]): string {
  const described = commands.map(({ name, summary }) => `    ${quoted(`${name}:${summary}`)}`);
  return `#compdef ferry
# zsh completion for ferry; made by \`ferry completions zsh\`
_ferry() {
  local -a commands=(
${described.join('\n')}
  )
  local context state line
  _arguments -C '--help[print help]' '--version[print the version]' \\
    '1:command:->command' '*::argument:->argument'
  case $state in
    command) _describe command commands ;;
    argument)
      case $line[1] in
${commands.map(caseOf).join('\n')}
      esac ;;
  esac
}
_ferry "$@"
`;
}

function caseOf(command: CommandSpec): string {
  const flags = [...flagsOf(command).map(flagSpec), `'--help[print help]'`];
  const words = Object.values(command.arguments).map(argumentSpec);
  return `        ${command.name}) _arguments ${[...flags, ...words].join(' ')} ;;`;
}

function flagSpec({ long, option }: Flag): string {
  const help = option.help.replace(/[[\]:]/g, ' ');
  if (option.placeholder === undefined) return quoted(`${long}[${help}]`);
  const action =
    option.choices === undefined
      ? actionOf[option.completes ?? 'nothing']
      : `(${option.choices.join(' ')})`;
  const name = option.placeholder.replace(/:/g, ' ');
  return quoted(`${long}${option.bareText === undefined ? '=' : '=-'}[${help}]:${name}:${action}`);
}

function argumentSpec({ placeholder, repeats, completes }: ArgumentSpec): string {
  return quoted(`${repeats ? '*' : ''}:${placeholder}:${actionOf[completes ?? 'nothing']}`);
}

function quoted(text: string): string {
  return `'${text.replace(/'/g, `'\\''`)}'`;
}
