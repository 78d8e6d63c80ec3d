/** Commands for the shell itself. */
import { argument, entry, type TableEntry } from '../spec.ts';

export const completionsSpec = {
  name: 'completions',
  summary: 'print the completion script of a shell',
  arguments: { shell: argument('SHELL', 'bash, zsh or fish') },
  options: {},
  examples: [
    'ferry completions bash > ~/.local/share/bash-completion/completions/ferry',
    'ferry completions zsh > ~/.zfunc/_ferry',
    'ferry completions fish > ~/.config/fish/completions/ferry.fish',
  ],
} as const;

export const shellCommands: readonly TableEntry[] = [
  entry(completionsSpec, () => import('../commands/completions.ts')),
];
