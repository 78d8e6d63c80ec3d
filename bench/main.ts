/** `npm run bench -- NAME`: runs one benchmark and prints its table, or JSON lines with --json. */
import { globSync } from 'node:fs';
import { basename } from 'node:path';
import { parseArgs } from 'node:util';
import { Report } from './report.ts';

/** What a file `bench/NAME.ts` exports. */
export type Bench = {
  readonly summary: string;
  /** Adds its samples to the report; reads its own options from `options.rest`. */
  run(report: Report, options: BenchOptions): Promise<void>;
};

export type BenchOptions = {
  readonly rounds: number;
  /** Everything after NAME that is no common option: `--images DIR`. */
  readonly rest: readonly string[];
  /** Tells people what is going on; stderr, so that stdout holds the result only. */
  say(text: string): void;
};

const helpers = new Set('main report processes exports package fio backup-subjects'.split(' '));
const names = globSync('*.ts', { cwd: import.meta.dirname })
  .map((file) => basename(file, '.ts'))
  .filter((name) => !helpers.has(name) && !name.includes('.'))
  .sort();

async function benchOf(name: string): Promise<Bench> {
  const { bench } = (await import(`./${name}.ts`)) as { bench: Bench };
  return bench;
}

async function usage(): Promise<string> {
  const rows = await Promise.all(
    names.map(async (name) => `  ${name.padEnd(12)}  ${(await benchOf(name)).summary}`),
  );
  const line = 'npm run bench -- NAME [--json] [--rounds N] [options of the benchmark]';
  return `Usage: ${line}\n\n${rows.join('\n')}\n`;
}

/** Common options are taken out of `words`, the rest is left to the benchmark. */
function parse(words: readonly string[]) {
  const { tokens } = parseArgs({ args: [...words], strict: false, tokens: true, options: {} });
  let isJson = false;
  let rounds = 3;
  const taken = new Set<number>();
  for (const token of tokens) {
    if (token.kind !== 'option') continue;
    if (token.name === 'json') isJson = true;
    else if (token.name === 'rounds') {
      const text = token.value ?? words[token.index + 1];
      rounds = Number(text);
      if (!Number.isInteger(rounds) || rounds < 1) throw new Error(`bad --rounds: ${text}`);
      if (token.value === undefined) taken.add(token.index + 1);
    } else continue;
    taken.add(token.index);
  }
  const rest = words.filter((_, index) => !taken.has(index));
  return { isJson, rounds, name: rest[0], rest: rest.slice(1) };
}

// Exit handlers stop what is running and remove what was made.
process.once('SIGINT', () => process.exit(130));
process.once('SIGTERM', () => process.exit(143));

const { isJson, rounds, name, rest } = parse(process.argv.slice(2));
if (name === undefined || !names.includes(name)) {
  process.stderr.write(await usage());
  process.exitCode = 2;
} else {
  const report = new Report(name);
  const say = (text: string) => void process.stderr.write(`${text}\n`);
  await (await benchOf(name)).run(report, { rounds, rest, say });
  process.stdout.write(isJson ? report.jsonLines() : `${report.table()}\n`);
}
