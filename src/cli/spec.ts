/** How a command is declared: arguments, options and help as data, from which its types follow. */
import { parseSize, SIZE_FORM } from '../core/index.ts';
import type { Context } from './context.ts';
import { formatSizeExact } from './sizes.ts';

/** What completion offers for a value. */
export type Completes = 'file' | 'directory' | 'nothing';

export type OptionSpec<Value = unknown> = {
  readonly help: string;
  /** One letter. */
  readonly short?: string;
  /** The name of its value in help, upper case; absent for a switch. */
  readonly placeholder?: string;
  /** `--name` alone is allowed too and means this text. */
  readonly bareText?: string;
  /** The default, as a person would write it. */
  readonly defaultText?: string;
  readonly choices?: readonly string[];
  readonly completes?: Completes;
  /** May be given several times: all texts are passed. */
  readonly repeats?: boolean;
  /** From what was written (no text if the option is absent) to the value; throws a plain Error. */
  readonly parse: (texts: readonly string[]) => Value;
};

export type ArgumentSpec<Value = unknown> = {
  readonly placeholder: string;
  readonly help: string;
  readonly optional?: boolean;
  /** Takes all the rest; only the last argument can. */
  readonly repeats?: boolean;
  readonly completes?: Completes;
  readonly parse: (texts: readonly string[]) => Value;
};

export type CommandSpec = {
  readonly name: string;
  /** One line, without a full stop. */
  readonly summary: string;
  /** More lines for the command's own help. */
  readonly details?: string;
  /** Keys are the names under which `run` gets the values. */
  readonly arguments: Readonly<Record<string, ArgumentSpec>>;
  /** Keys in camelCase; `blockSize` is written `--block-size`. */
  readonly options: Readonly<Record<string, OptionSpec>>;
  /** Whole command lines that work. */
  readonly examples: readonly string[];
};

/** The values of a command line, typed by the command's declaration. */
export type Values<Spec extends CommandSpec> = {
  readonly [Key in keyof Spec['arguments']]: ReturnType<Spec['arguments'][Key]['parse']>;
} & { readonly [Key in keyof Spec['options']]: ReturnType<Spec['options'][Key]['parse']> };

/** What a command's file exports as `run`; the answer is an exit status, 0 if there is none. */
export type Run<Spec extends CommandSpec> = (
  context: Context,
  values: Values<Spec>,
  // biome-ignore lint/suspicious/noConfusingVoidType: most commands just end, without a status.
) => Promise<void | number>;

/** A row of the command table: the declaration, and where the code is once it is needed. */
export type TableEntry = {
  readonly spec: CommandSpec;
  load(): Promise<{ readonly run: Run<never> }>;
};

/** Checks that `load` fits `spec`. */
export function entry<const Spec extends CommandSpec>(
  spec: Spec,
  load: () => Promise<{ readonly run: Run<Spec> }>,
): TableEntry {
  return { spec, load: load as TableEntry['load'] };
}

/** Only what differs from the usual. */
type Extra = Partial<Pick<OptionSpec, 'short' | 'completes' | 'choices'>>;

/** A switch. */
export function flag(help: string, extra: Extra = {}): OptionSpec<boolean> {
  return { help, ...extra, parse: (texts) => texts.length > 0 };
}

export function text(
  placeholder: string,
  help: string,
  extra: Extra = {},
): OptionSpec<string | undefined> {
  return { placeholder, help, ...extra, parse: (texts) => texts.at(-1) };
}

/** May be given several times; in the order in which they were. */
export function texts(
  placeholder: string,
  help: string,
  extra: Extra = {},
): OptionSpec<readonly string[]> {
  return { placeholder, help, repeats: true, ...extra, parse: (all) => all };
}

/** `--name` alone means `bareText`; with a value it must be written `--name=VALUE`. */
export function optionalText(
  placeholder: string,
  bareText: string,
  help: string,
): OptionSpec<string | undefined> {
  return { placeholder, bareText, help, parse: (texts) => texts.at(-1) };
}

/** Any value with a default, read by `read`; `defaultText` goes through it as well. */
export function value<Value>(
  placeholder: string,
  help: string,
  defaultText: string,
  read: (text: string) => Value,
  extra: Extra = {},
): OptionSpec<Value> {
  const parse = (texts: readonly string[]) => read(texts.at(-1) ?? defaultText);
  return { placeholder, help, defaultText, ...extra, parse };
}

/** A number of bytes such as `64K`. */
export function size(
  placeholder: string,
  help: string,
  defaultText: string,
  check: (bytes: number) => void = () => {},
): OptionSpec<number> {
  return value(placeholder, help, defaultText, (written) => {
    const bytes = sizeOf(written);
    check(bytes);
    return bytes;
  });
}

/** Sizes with commas between, in the order in which they were written. */
export function sizes(
  placeholder: string,
  help: string,
  defaultText: string,
  check: (bytes: number) => void = () => {},
): OptionSpec<readonly number[]> {
  return value(placeholder, help, defaultText, (list) => {
    const read = list.split(',').map(sizeOf);
    read.forEach(check);
    return read;
  });
}

function sizeOf(written: string): number {
  const bytes = parseSize(written);
  if (bytes !== undefined) return bytes;
  throw new Error(`'${written}' is not a size: write ${SIZE_FORM}`);
}

/** For `size` and `sizes`: powers of two from `min` to `max` bytes. */
export function powerOfTwo(min: number, max: number): (bytes: number) => void {
  return (bytes) => {
    if (bytes >= min && bytes <= max && Number.isInteger(Math.log2(bytes))) return;
    const range = `${formatSizeExact(min)} to ${formatSizeExact(max)}`;
    throw new Error(`expected a power of two from ${range}, not ${formatSizeExact(bytes)}`);
  };
}

export function choice<const Choice extends string>(
  choices: readonly Choice[],
  help: string,
  defaultText: Choice,
): OptionSpec<Choice> {
  const placeholder = choices.join('|');
  return value(placeholder, help, defaultText, (given) => oneOf(choices, given), { choices });
}

function oneOf<Choice extends string>(choices: readonly Choice[], given: string): Choice {
  const found = choices.find((choice) => choice === given);
  if (found === undefined) throw new Error(`expected ${choices.join(', ')}, not '${given}'`);
  return found;
}

/** A whole number from `min` to `max`. */
export function count(
  placeholder: string,
  help: string,
  defaultText: string,
  { min = 0, max = Number.MAX_SAFE_INTEGER }: { min?: number; max?: number } = {},
): OptionSpec<number> {
  return value(placeholder, help, defaultText, (written) => {
    const number = /^\d+$/.test(written) ? Number(written) : Number.NaN;
    if (number >= min && number <= max) return number;
    throw new Error(`expected a whole number from ${min} to ${max}, not '${written}'`);
  });
}

/** The option without its default: undefined if it is absent. */
export function optional<Value>({
  defaultText: _,
  parse,
  ...spec
}: OptionSpec<Value>): OptionSpec<Value | undefined> {
  return { ...spec, parse: (texts) => (texts.length === 0 ? undefined : parse(texts)) };
}

/** `--name` alone means all of it, `--name=10%` that share; undefined without the option. */
export function share(help: string): OptionSpec<number | undefined> {
  const parse = (texts: readonly string[]): number | undefined => {
    const written = texts.at(-1);
    if (written === undefined) return undefined;
    const percent = /^(\d{1,3}(?:\.\d{1,6})?)%$/.exec(written)?.[1];
    const part = Number(percent) / 100;
    if (part > 0 && part <= 1) return part;
    throw new Error(`expected a share such as 10%, above 0 and at most 100%, not '${written}'`);
  };
  return { placeholder: 'N%', bareText: '100%', help, parse };
}

const unitMs: Readonly<Record<string, number>> = {
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
};

/** What `duration` takes, for messages and help. */
export const DURATION_FORM =
  'a whole number with s, m, h, d or w (seconds to weeks), such as 30s, 45m or 12h';

/** A time such as `30d` in milliseconds; undefined without the option. */
export function duration(help: string): OptionSpec<number | undefined> {
  const parse = (texts: readonly string[]): number | undefined => {
    const written = texts.at(-1);
    if (written === undefined) return undefined;
    const [, count, unit] = /^(\d{1,9})([smhdw])$/.exec(written) ?? [];
    if (count !== undefined) return Number(count) * unitMs[unit!]!;
    throw new Error(`'${written}' is not a duration: write ${DURATION_FORM}`);
  };
  return { placeholder: 'DURATION', help, parse };
}

export function argument(
  placeholder: string,
  help: string,
  completes: Completes = 'nothing',
): ArgumentSpec<string> {
  return { placeholder, help, completes, parse: (texts) => texts[0]! };
}

export function optionalArgument(
  placeholder: string,
  help: string,
  completes: Completes = 'nothing',
): ArgumentSpec<string | undefined> {
  return { placeholder, help, completes, optional: true, parse: (texts) => texts[0] };
}

/** One or more. */
export function argumentList(
  placeholder: string,
  help: string,
  completes: Completes = 'nothing',
): ArgumentSpec<readonly string[]> {
  return { placeholder, help, completes, repeats: true, parse: (texts) => texts };
}
