/** House rule: sizes that keep a file readable; biome sees to the rest. */
import { globSync, readFileSync } from 'node:fs';

const lineColumnsMax = 100;
const fileLinesMax = 400;

/** A title is a sentence; cutting it in two would not make it easier to read. */
const testTitle = /^\s*test\(['"`]/;

/** All breaches in one file's text, as `file:line: why`. */
export function styleProblems(file: string, text: string): string[] {
  const lines = text.split('\n');
  const problems = lines.flatMap((line, index) =>
    line.length <= lineColumnsMax || testTitle.test(line)
      ? []
      : [`${file}:${index + 1}: ${line.length} columns, at most ${lineColumnsMax} are wanted`],
  );
  const count = lines.length - 1;
  if (count > fileLinesMax) problems.push(`${file}:${count}: more than ${fileLinesMax} lines`);
  if (!/^(?:#!.*\n)?\/\*\*/.test(text)) {
    problems.push(`${file}:1: a file opens with one sentence that says what it is`);
  }
  return problems;
}

if (import.meta.main) {
  const files = globSync('{src,sim,test,bench,scripts}/**/*.ts');
  const problems = files.sort().flatMap((file) => styleProblems(file, readFileSync(file, 'utf8')));
  for (const problem of problems) console.error(problem);
  if (problems.length > 0) process.exitCode = 1;
}
