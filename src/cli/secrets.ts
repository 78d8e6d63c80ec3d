/**
 * Passwords: from the environment, a file, a command or the terminal - never from the command line,
 * which everybody on the machine can read.
 */
import { open } from 'node:fs/promises';
import { CliError, usageError } from './errors.ts';
import type { Terminal } from './terminal.ts';

/** A password is a line of text, and never longer. */
const PASSWORD_BYTES_MAX = 4096;

export type Secrets = {
  /** The environment names a password: whoever does that expects an encrypted repository. */
  readonly isGiven: boolean;
  /** The password of the repository; undefined if nobody can be asked. */
  password(): Promise<string | undefined>;
  /** Of the repository that a command copies to: its own, or else that of the first. */
  readonly second: {
    readonly isGiven: boolean;
    password(location: string): Promise<string | undefined>;
  };
  /** A password for what is being made; CLI_PASSWORD if nobody can be asked. */
  newPassword(from: 'FERRY_PASSWORD' | 'FERRY_NEW_PASSWORD'): Promise<string>;
};

type Variables = Readonly<Record<string, string | undefined>>;

export function secretsFrom(variables: Variables, terminal: Terminal): Secrets {
  const ask = terminal.askSecret;
  return {
    isGiven: namesIn(variables, 'FERRY_PASSWORD').length > 0,
    async password() {
      const given = await fromEnvironment(variables, 'FERRY_PASSWORD');
      return given ?? ask?.('Password of the repository: ');
    },
    second: {
      isGiven: namesIn(variables, 'FERRY_TO_PASSWORD').length > 0,
      async password(location) {
        const own = await fromEnvironment(variables, 'FERRY_TO_PASSWORD');
        const given = own ?? (await fromEnvironment(variables, 'FERRY_PASSWORD'));
        return given ?? ask?.(`Password of ${location}: `);
      },
    },
    async newPassword(from) {
      const given = await fromEnvironment(variables, from);
      if (given !== undefined) return given;
      if (ask === undefined) throw noPassword(from);
      const first = await ask('New password: ');
      if ((await ask('The same again: ')) === first) return first;
      throw new CliError('CLI_PASSWORD', 'the two passwords differ', { hint: 'Try again.' });
    },
  };
}

function namesIn(variables: Variables, name: string): string[] {
  const names = [name, `${name}_FILE`, `${name}_COMMAND`];
  return names.filter((each) => (variables[each] ?? '') !== '');
}

async function fromEnvironment(variables: Variables, name: string): Promise<string | undefined> {
  const names = namesIn(variables, name);
  if (names.length > 1) throw usageError(`set only one of ${names.join(' and ')}`);
  const [found] = names;
  if (found === undefined) return undefined;
  const value = variables[found]!;
  if (found.endsWith('_FILE')) return firstLine(found, await readText(found, value));
  if (found.endsWith('_COMMAND')) return firstLine(found, await outputOf(found, value));
  return value;
}

/** All text of a file that holds a secret; `-` is stdin. `name` stands for it in messages. */
export function readSecretFile(name: string, path: string): Promise<string> {
  return readText(name, path === '-' ? '/dev/stdin' : path);
}

/** Read to its end, not by its size: it may be a pipe, as the shell's <(...) gives one. */
async function readText(variable: string, path: string): Promise<string> {
  try {
    await using file = await open(path, 'r');
    const bytes = Buffer.alloc(PASSWORD_BYTES_MAX + 1);
    let length = 0;
    for (;;) {
      const { bytesRead } = await file.read(bytes, length, bytes.byteLength - length);
      length += bytesRead;
      if (bytesRead === 0 || length === bytes.byteLength) break;
    }
    return bytes.toString('utf8', 0, length);
  } catch (cause) {
    const why = (cause as NodeJS.ErrnoException).code ?? 'unknown';
    throw unusable(variable, `its file ${path} cannot be read (${why})`, cause);
  }
}

/** What the command prints; it may use the terminal to ask for something itself. */
function outputOf(variable: string, command: string): Promise<string> {
  return new Promise((resolve, reject) => {
    // Not imported above: hardly a command needs it.
    const { spawn } = process.getBuiltinModule('node:child_process');
    const child = spawn('/bin/sh', ['-c', command], { stdio: ['inherit', 'pipe', 'inherit'] });
    const parts: Buffer[] = [];
    let length = 0;
    child.stdout.on('data', (part: Buffer) => {
      length += part.byteLength;
      if (length > PASSWORD_BYTES_MAX) child.kill();
      else parts.push(part);
    });
    child.on('error', (cause) => reject(unusable(variable, 'its command does not start', cause)));
    child.on('close', (status) => {
      if (status === 0) resolve(Buffer.concat(parts).toString('utf8'));
      else reject(unusable(variable, `its command ended with ${status ?? 'a signal'}`));
    });
  });
}

/** Without the line's end; other blanks are part of the password. */
function firstLine(variable: string, text: string): string {
  const line = text.split(/\r?\n/, 1)[0]!;
  if (line !== '' && text.length <= PASSWORD_BYTES_MAX) return line;
  const what = line === '' ? 'is empty' : `is longer than ${PASSWORD_BYTES_MAX} bytes`;
  throw unusable(variable, `the first line of what it gives ${what}`);
}

function unusable(variable: string, what: string, cause?: unknown): CliError {
  const hint = `${variable} must lead to a line of text.`;
  return new CliError('CLI_PASSWORD', `${variable}: ${what}`, { hint, cause });
}

function noPassword(name: string): CliError {
  return new CliError('CLI_PASSWORD', 'there is no password, and no terminal to ask for one', {
    hint: `Set ${name}, ${name}_FILE or ${name}_COMMAND.`,
  });
}
