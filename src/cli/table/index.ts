/** The command table: help, completion and the lazy loading of commands all come from it. */
import type { TableEntry } from '../spec.ts';
import { imageCommands } from './images.ts';
import { shellCommands } from './shell.ts';

export type CommandGroup = { readonly title: string; readonly entries: readonly TableEntry[] };

/** In the order of help. */
export const commandGroups: readonly CommandGroup[] = [
  { title: 'Images', entries: imageCommands },
  { title: 'Shell', entries: shellCommands },
];
