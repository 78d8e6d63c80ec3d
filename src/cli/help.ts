/** The help of `ferry` itself: the commands by group, and what all of them take. */
import { globalOptions, longFlag } from './global-options.ts';
import { DURATION_FORM, type OptionSpec } from './spec.ts';
import type { CommandGroup } from './table/index.ts';

/** Help is as wide as the lines of a terminal that nobody has widened, or a little wider. */
export const helpColumns = 100;

/** `-q, --quiet`, `--repo <REPO>`, `--read-data [SHARE]`. */
export function flagsText(key: string, spec: OptionSpec): string {
  const { short, placeholder, bareText } = spec;
  const long = short === undefined ? longFlag(key) : `-${short}, ${longFlag(key)}`;
  if (placeholder === undefined) return long;
  return bareText === undefined ? `${long} <${placeholder}>` : `${long} [${placeholder}]`;
}

export function rootHelp(groups: readonly CommandGroup[]): string {
  const options = Object.entries(globalOptions).map(
    ([key, spec]) => [flagsText(key, spec), spec.help] as const,
  );
  return [
    'Usage: ferry COMMAND [options]\n',
    'Backs up, mounts, restores and serves disks.\n',
    ...groups.map(({ title, entries }) =>
      section(
        title,
        entries.map(({ spec }) => [spec.name, spec.summary]),
      ),
    ),
    section('Options of every command', [
      ...options,
      ['-h, --help', 'print help; `ferry COMMAND --help` tells about one command'],
      ['-V, --version', 'print the version'],
    ]),
    section('Values', [
      ['SIZE', 'bytes, or a number with K, M, G, T or P (powers of 1024), such as 64K or 1.5G'],
      ['DURATION', DURATION_FORM],
    ]),
  ].join('\n');
}

function section(title: string, rows: readonly (readonly [string, string])[]): string {
  const lines = rows.map(([term, text]) => `  ${term.padEnd(16)}  ${text}`);
  return `${title}:\n${lines.join('\n')}\n`;
}
