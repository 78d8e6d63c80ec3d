/** Completion for bash. */
import type { CommandSpec } from '../spec.ts';
import { argumentCompletes, flagsOf, takesWord } from './flags.ts';

const compgenOf = { file: '-f', directory: '-d', nothing: '' } as const;

export function bashScript(commands: readonly CommandSpec[]): string {
  const names = commands.map(({ name }) => name);
  const first = [...names, 'help', '--help', '--version'].join(' ');
  return `# bash completion for ferry; made by \`ferry completions bash\`
_ferry() {
  local word=\${COMP_WORDS[COMP_CWORD]} before=\${COMP_WORDS[COMP_CWORD-1]} command= each
  for each in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case $each in ${names.join('|')}) command=$each; break ;; esac
  done
  COMPREPLY=()
  case $command in
    '') COMPREPLY=($(compgen -W '${first}' -- "$word")) ;;
${commands.map(caseOf).join('\n')}
  esac
}
complete -o filenames -F _ferry ferry
`;
}

function caseOf(command: CommandSpec): string {
  const flags = flagsOf(command);
  const values = flags.filter(takesWord).map(({ long, option }) => {
    const kind = compgenOf[option.completes ?? 'nothing'];
    const words = option.choices === undefined ? kind : `-W '${option.choices.join(' ')}'`;
    const reply = words === '' ? '' : `COMPREPLY=($(compgen ${words} -- "$word")); `;
    return `        ${long}) ${reply}return ;;`;
  });
  const longs = [...flags.map(({ long }) => long), '--help'].join(' ');
  const kind = compgenOf[argumentCompletes(command)];
  return `    ${command.name})
      case $before in
${values.join('\n')}
      esac
      case $word in
        -*) COMPREPLY=($(compgen -W '${longs}' -- "$word")) ;;
        *) ${kind === '' ? ':' : `COMPREPLY=($(compgen ${kind} -- "$word"))`} ;;
      esac ;;`;
}
