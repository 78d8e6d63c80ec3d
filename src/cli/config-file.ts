/** A configuration file: YAML with names of options, and their values as written. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type * as Yaml from 'yaml';
import { messageOf } from '../core/index.ts';
import { CliError } from './errors.ts';
import { longFlag } from './global-options.ts';
import type { OptionSpec } from './spec.ts';

export type Texts = Readonly<Record<string, readonly string[]>>;

/** By the keys of `options`, as flags would give them. CLI_CONFIG names file and line. */
export function configTexts(path: string, options: Readonly<Record<string, OptionSpec>>): Texts {
  const { parseDocument, isMap, isScalar, LineCounter } = yaml();
  const lines = new LineCounter();
  const document = parseDocument(textOf(path), { lineCounter: lines });
  const refuse = (node: unknown, why: string): CliError => {
    const [offset] = (node as Yaml.Node).range ?? [0];
    return refused(`${path}:${lines.linePos(offset).line}: ${why}`);
  };
  const [error] = document.errors;
  if (error !== undefined) {
    const line = error.linePos?.[0].line ?? 1;
    throw refused(`${path}:${line}: ${error.message.split('\n')[0]!.replace(/:$/, '')}`);
  }
  const { contents } = document;
  if (contents === null) return {};
  if (!isMap(contents)) throw refuse(contents, 'expected lines of `name: value`');
  const byName = new Map(Object.entries(options).map((pair) => [longFlag(pair[0]).slice(2), pair]));
  const texts: Record<string, readonly string[]> = {};
  for (const { key, value } of contents.items) {
    const name = isScalar(key) ? String(key.value) : '';
    const [option, spec] = byName.get(name) ?? [];
    if (option === undefined || spec === undefined || name === 'config') {
      throw refuse(key, `there is no option '${name}'`);
    }
    texts[option] = textsOf(value as Yaml.Node | null, spec, (why) =>
      refuse(value ?? key, `${name}: ${why}`),
    );
  }
  return texts;
}

function textsOf(
  node: Yaml.Node | null,
  spec: OptionSpec,
  refuse: (why: string) => CliError,
): readonly string[] {
  const { isScalar, isSeq } = yaml();
  if (isSeq(node) && spec.repeats === true) {
    return node.items.flatMap((item) => textsOf(item as Yaml.Node, spec, refuse));
  }
  if (!isScalar(node) || node.value === null) throw refuse('expected one value');
  if (spec.placeholder === undefined) {
    if (typeof node.value !== 'boolean') throw refuse('expected true or false');
    return node.value ? [''] : [];
  }
  // As it was written: 1e3 and 007 are no numbers here.
  return [typeof node.value === 'string' ? node.value : (node.source ?? String(node.value))];
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw refused(`${path} cannot be read: ${messageOf(cause)}`, cause);
  }
}

function refused(message: string, cause?: unknown): CliError {
  const hint = 'Names are those of the options in `--help`, without `--`.';
  return new CliError('CLI_CONFIG', message, { hint, cause });
}

/** Loaded by who has such a file only, and without waiting, as the command line is parsed. */
function yaml(): typeof Yaml {
  return createRequire(import.meta.url)('yaml');
}
