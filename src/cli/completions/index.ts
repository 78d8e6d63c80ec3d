/** Completion scripts, generated from the command table. */
import type { CommandSpec } from '../spec.ts';
import { bashScript } from './bash.ts';
import { fishScript } from './fish.ts';
import { zshScript } from './zsh.ts';

export type CompletionScript = (commands: readonly CommandSpec[]) => string;

export const completionScripts: Readonly<Record<string, CompletionScript>> = {
  bash: bashScript,
  zsh: zshScript,
  fish: fishScript,
};
