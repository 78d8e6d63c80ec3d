/** From words to an invocation: commander parses and writes help from the command table. */

import { Command, CommanderError, Option } from 'commander';
import { messageOf } from '../core/index.ts';
import { configTexts } from './config-file.ts';
import { usageError } from './errors.ts';
import { exitStatus } from './exit-codes.ts';
import { type GlobalValues, globalOptions, longFlag } from './global-options.ts';
import { flagsText, helpColumns, rootHelp } from './help.ts';
import type { ArgumentSpec, CommandSpec, OptionSpec, TableEntry } from './spec.ts';
import type { CommandGroup } from './table/index.ts';

export type Invocation = {
  readonly entry: TableEntry;
  readonly values: Readonly<Record<string, unknown>>;
  readonly global: GlobalValues;
};

/** There is only something to print: help or the version. */
export type Printout = { readonly text: string; readonly status: number };

type Texts = Readonly<Record<string, readonly string[] | undefined>>;

/** Throws a CliError for what cannot be meant. */
export function parseCommandLine(
  groups: readonly CommandGroup[],
  words: readonly string[],
  version: string,
): Invocation | Printout {
  let invocation: Invocation | undefined;
  let printed = '';
  const write = (text: string) => {
    printed += text;
  };
  // What is not named is not run: a tenth of the time of the whole program otherwise.
  const isNamed = (name: string) => words.includes(name);
  const program = programFrom(groups, version, isNamed, (entry, words, texts, rootTexts) => {
    invocation = { entry, ...valuesOf(entry.spec, words, texts, rootTexts) };
  });
  for (const command of [program, ...program.commands]) {
    command
      .exitOverride()
      .configureOutput({ writeOut: write, writeErr: write, outputError() {} })
      .configureHelp({ helpWidth: helpColumns });
  }
  checkHelp(program, words);
  try {
    program.parse(words, { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return { text: printed, status: exitStatus.done };
    if (error.code === 'commander.help') return { text: printed, status: exitStatus.usage };
    throw usageError(oneLine(error.message), commandOf(program, words));
  }
  return invocation ?? { text: program.helpInformation(), status: exitStatus.usage };
}

/** Commander answers `help` about what it does not know with the help of all. */
function checkHelp(program: Command, [first, name]: readonly string[]): void {
  if (first !== 'help' || name === undefined || name.startsWith('-') || name === 'help') return;
  if (program.commands.some((command) => command.name() === name)) return;
  throw usageError(`unknown command '${name}'`);
}

type OnCommand = (
  entry: TableEntry,
  words: readonly (string | readonly string[] | undefined)[],
  texts: Texts,
  rootTexts: Texts,
) => void;

function programFrom(
  groups: readonly CommandGroup[],
  version: string,
  isNamed: (name: string) => boolean,
  run: OnCommand,
): Command {
  const program = new Command('ferry')
    .version(version, '-V, --version')
    .helpOption('-h, --help')
    .helpCommand('help [COMMAND]');
  program.helpInformation = () => rootHelp(groups);
  addOptions(program, globalOptions);
  for (const { entries } of groups) {
    for (const entry of entries) {
      const { name } = entry.spec;
      program.addCommand(isNamed(name) ? commandFrom(entry, run, program) : new Command(name));
    }
  }
  return program;
}

function commandFrom(entry: TableEntry, run: OnCommand, program: Command): Command {
  const { spec } = entry;
  const command = new Command(spec.name)
    .summary(spec.summary)
    .description(`${spec.summary[0]!.toUpperCase()}${spec.summary.slice(1)}.`)
    .usage(usageOf(spec))
    .helpOption('-h, --help', 'print this help')
    .allowExcessArguments(false);
  if (spec.details !== undefined) command.addHelpText('after', `\n${spec.details}`);
  const examples = spec.examples.map((example) => `\n  ${example}`).join('');
  command.addHelpText('after', `\nExample${spec.examples.length > 1 ? 's' : ''}:${examples}`);
  for (const argument of Object.values(spec.arguments)) {
    command.argument(commanderName(argument), argument.help);
  }
  addOptions(command, spec.options);
  addOptions(command, globalOptions, 'Options of every command:');
  const count = Object.keys(spec.arguments).length;
  return command.action((...given: unknown[]) => {
    const words = given.slice(0, count) as (string | string[] | undefined)[];
    run(entry, words, command.opts<Texts>(), program.opts<Texts>());
  });
}

function addOptions(
  command: Command,
  specs: Readonly<Record<string, OptionSpec>>,
  heading?: string,
): void {
  for (const [key, spec] of Object.entries(specs)) {
    const help = spec.defaultText === undefined ? '' : ` (default: ${spec.defaultText})`;
    const option = new Option(flagsText(key, spec), `${spec.help}${help}`);
    // `--no-progress` is a switch of its own here, not the opposite of another.
    option.negate = false;
    option.attributeName = () => key;
    option.argParser((text: string, before: readonly string[] = []) => [...before, text]);
    if (spec.bareText !== undefined) option.preset(spec.bareText);
    if (heading !== undefined) option.helpGroup(heading);
    command.addOption(option);
  }
}

function valuesOf(
  spec: CommandSpec,
  words: readonly (string | readonly string[] | undefined)[],
  texts: Texts,
  rootTexts: Texts,
): Pick<Invocation, 'values' | 'global'> {
  const values: Record<string, unknown> = {};
  for (const [index, [key, argument]] of Object.entries(spec.arguments).entries()) {
    const word = words[index];
    const given = word === undefined ? [] : typeof word === 'string' ? [word] : word;
    values[key] = parsed(spec, argument.placeholder, () => argument.parse(given));
  }
  const config = 'config' in spec.options ? listOf(texts.config).at(-1) : undefined;
  const options = { ...globalOptions, ...spec.options };
  const file = config === undefined ? {} : configTexts(config, options);
  // What is given on the command line stands for all that the file says of that option.
  const or = (key: string, given: readonly string[]) =>
    given.length > 0 ? given : (file[key] ?? []);
  for (const [key, option] of Object.entries(spec.options)) {
    const written = or(key, listOf(texts[key]));
    values[key] = parsed(spec, longFlag(key), () => option.parse(written));
  }
  const global: Record<string, unknown> = {};
  for (const [key, option] of Object.entries(globalOptions)) {
    global[key] = option.parse(or(key, [...listOf(rootTexts[key]), ...listOf(texts[key])]));
  }
  return { values, global: global as GlobalValues };
}

/** Commander's `true` of a switch counts as one empty text. */
function listOf(texts: unknown): readonly string[] {
  if (texts === undefined) return [];
  return Array.isArray(texts) ? texts : [''];
}

function parsed(spec: CommandSpec, what: string, parse: () => unknown): unknown {
  try {
    return parse();
  } catch (error) {
    const message = messageOf(error);
    throw usageError(`${what}: ${message}`, `ferry ${spec.name}`, error);
  }
}

function commanderName({ placeholder, optional, repeats }: ArgumentSpec): string {
  const name = repeats ? `${placeholder}...` : placeholder;
  return optional ? `[${name}]` : `<${name}>`;
}

/** `[options] SOURCE [TARGET]`. */
export function usageOf(spec: CommandSpec): string {
  const names = Object.values(spec.arguments).map(({ placeholder, optional, repeats }) => {
    const name = repeats ? `${placeholder}...` : placeholder;
    return optional ? `[${name}]` : name;
  });
  return ['[options]', ...names].join(' ');
}

function oneLine(message: string): string {
  return message.replace(/^error: /, '').replace(/\s*\n\s*/g, ' ');
}

function commandOf(program: Command, words: readonly string[]): string {
  const found = program.commands.find((command) => words.includes(command.name()));
  return found === undefined ? 'ferry' : `ferry ${found.name()}`;
}
