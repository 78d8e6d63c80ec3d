/** What the demo prints, and how it runs the commands that it prints. */
import { spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Where Debian puts mkfs and debugfs, and an ordinary PATH does not look. */
const systemFolders = ['/usr/sbin', '/sbin', '/usr/local/sbin'];

const started = performance.now();

export const MIB = 1024 * 1024;

export function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

let stepNumber = 0;

export function step(title: string): void {
  stepNumber += 1;
  say(`\n${stepNumber}. ${title}`);
}

export function detail(text: string): void {
  say(text.trimEnd().replace(/^/gm, '   '));
}

export function secondsSinceStart(): string {
  return `${((performance.now() - started) / 1000).toFixed(1)} s`;
}

export function findTool(tool: string): string | undefined {
  const folders = (process.env.PATH ?? '').split(delimiter).concat(systemFolders);
  return folders.map((folder) => join(folder, tool)).find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

export type Shell = {
  readonly directory: string;
  readonly variables: Readonly<Record<string, string>>;
};

export type CommandOptions = {
  readonly path: string;
  /** How the command is shown; what is long or only distracts may be left out. */
  readonly shown: string;
  readonly arguments: readonly string[];
  readonly input?: string;
  /** Its output is printed too. */
  readonly echo?: boolean;
};

/** Prints a command, runs it to its end and answers with its output; throws if it fails. */
export function command({ directory, variables }: Shell, options: CommandOptions): string {
  detail(`$ ${options.shown}`);
  const { status, stdout, stderr, error } = spawnSync(options.path, options.arguments, {
    cwd: directory,
    env: { ...process.env, ...variables },
    encoding: 'utf8',
    ...(options.input === undefined ? {} : { input: options.input }),
    maxBuffer: 64 * MIB,
  });
  if (error !== undefined) throw error;
  if (status !== 0) throw new Error(`${options.shown} ended with ${status}\n${stdout}${stderr}`);
  if (options.echo) detail(stdout);
  return stdout;
}
