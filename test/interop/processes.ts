/** Runs other programs for tests: wait for a line, a socket or the end, all within a time limit. */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

/** Long enough for a loaded machine, short enough to end a hang. */
const defaultTimeoutMs = 60_000;
const listenPollMs = 5;
/** What is kept of a program's output. */
const outputBytesMax = 16 * 1024 * 1024;

export type RunOptions = SpawnOptions & {
  readonly timeoutMs?: number;
  /** Written to the program's standard input, which is then closed. */
  readonly input?: string | Uint8Array;
};

export type Finished = {
  /** Null if a signal ended it. */
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
};

type Pattern = RegExp | string | ((line: string) => boolean);

/** A program that goes on running beside the test; dispose it (`await using`) to end it. */
export interface Running extends AsyncDisposable {
  readonly pid: number;
  readonly child: ChildProcess;
  /** Resolves with the first line of stdout, past or to come, that matches. */
  line(pattern: Pattern, timeoutMs?: number): Promise<string>;
  /** Resolves when somebody listens on the unix socket `path`; it is not connected to. */
  socket(path: string, timeoutMs?: number): Promise<void>;
  /** Resolves when the program has ended and its pipes are closed. */
  finished(timeoutMs?: number): Promise<Finished>;
  /** Sends a signal to this process alone, by its id. */
  kill(signal?: NodeJS.Signals): void;
  readonly stdout: string;
  readonly stderr: string;
}

/** Starts `command`. It is killed when disposed, or with this process. */
export function start(
  command: string,
  commandArguments: readonly string[],
  { timeoutMs = defaultTimeoutMs, input, ...options }: RunOptions = {},
): Running {
  const child = spawn(command, commandArguments, { stdio: 'pipe', ...options });
  const label = `${basename(command)} ${commandArguments.join(' ')}`;
  const output = { stdout: '', stderr: '' };
  const listeners = new Set<() => void>();
  let ended: Finished | undefined;
  let failure: Error | undefined;
  const changed = () => {
    for (const listener of [...listeners]) listener();
  };
  const collect = (name: 'stdout' | 'stderr') => (text: string) => {
    if (output[name].length < outputBytesMax) output[name] += text;
    changed();
  };
  child.stdout?.setEncoding('utf8').on('data', collect('stdout'));
  child.stderr?.setEncoding('utf8').on('data', collect('stderr'));
  child.stdin?.on('error', () => {}); // The program may end without reading its input.
  if (input !== undefined) child.stdin?.end(input);
  const killChild = () => child.kill('SIGKILL');
  process.once('exit', killChild);
  child.on('error', (error) => {
    failure = error;
    changed();
  });
  child.on('close', (exitCode, signal) => {
    process.removeListener('exit', killChild);
    ended = { exitCode, signal, ...output };
    changed();
  });

  /** Looks whenever something changed; rejects when time is up or nothing can change any more. */
  function until<T>(what: string, limitMs: number, look: () => T | undefined): Promise<T> {
    return new Promise((resolve, reject) => {
      const finish = (settle: () => void) => {
        clearTimeout(timer);
        listeners.delete(check);
        settle();
      };
      const fail = (reason: string) =>
        finish(() =>
          reject(new Error(`${label}: ${reason} while waiting for ${what}\n${output.stderr}`)),
        );
      const check = () => {
        const found = look();
        if (found !== undefined) finish(() => resolve(found));
        else if (failure !== undefined) fail(failure.message);
        else if (ended !== undefined) fail(`ended (${ended.exitCode ?? ended.signal})`);
      };
      const timer = setTimeout(() => fail(`${limitMs} ms passed`), limitMs);
      listeners.add(check);
      check();
    });
  }

  function findLine(pattern: Pattern): string | undefined {
    const lines = output.stdout.split('\n').slice(0, ended === undefined ? -1 : undefined);
    if (typeof pattern === 'function') return lines.find(pattern);
    return lines.find((line) =>
      typeof pattern === 'string' ? line.includes(pattern) : pattern.test(line),
    );
  }

  return {
    get pid() {
      return child.pid ?? -1;
    },
    child,
    get stdout() {
      return output.stdout;
    },
    get stderr() {
      return output.stderr;
    },
    line: (pattern, limitMs = timeoutMs) =>
      until(`a line ${String(pattern)}`, limitMs, () => findLine(pattern)),
    async socket(path, limitMs = timeoutMs) {
      let there = false;
      const look = async () => {
        there ||= await isListening(path);
        changed();
      };
      // The file appears before the program listens, and of that the kernel tells nobody.
      const poll = setInterval(() => void look(), listenPollMs);
      try {
        await until(`the socket ${path}`, limitMs, () => there || undefined);
      } finally {
        clearInterval(poll);
      }
    },
    finished: (limitMs = timeoutMs) => until('its end', limitMs, () => ended),
    kill: (signal = 'SIGTERM') => void child.kill(signal),
    async [Symbol.asyncDispose]() {
      if (ended !== undefined || failure !== undefined) return;
      child.kill('SIGKILL');
      await until('its end', defaultTimeoutMs, () => ended);
    },
  };
}

/** Whether the kernel's table has a listening socket of that path. */
async function isListening(path: string): Promise<boolean> {
  const acceptsConnections = 0x10000; // __SO_ACCEPTCON, the fourth column.
  const table = await readFile('/proc/net/unix', 'utf8').catch(() => '');
  return table.split('\n').some((line) => {
    if (!line.endsWith(` ${path}`)) return false;
    return (Number.parseInt(line.split(/\s+/)[3] ?? '0', 16) & acceptsConnections) !== 0;
  });
}

/** For a program that went into the background by itself: resolves when somebody listens there. */
export async function listening(path: string, timeoutMs = defaultTimeoutMs): Promise<void> {
  const endMs = performance.now() + timeoutMs;
  while (!(await isListening(path))) {
    if (performance.now() > endMs) throw new Error(`nobody listens at ${path}`);
    await delay(listenPollMs);
  }
}

/** Runs `command` to its end; rejects, killing it, when the time limit passes. */
export async function run(
  command: string,
  commandArguments: readonly string[],
  options: RunOptions = {},
): Promise<Finished> {
  await using running = start(command, commandArguments, { input: '', ...options });
  return await running.finished();
}

/** Like `run`, and rejects with what the program printed unless it ends with status 0. */
export async function runOk(
  command: string,
  commandArguments: readonly string[],
  options: RunOptions = {},
): Promise<Finished> {
  const done = await run(command, commandArguments, options);
  if (done.exitCode === 0) return done;
  throw new Error(
    `${command} ${commandArguments.join(' ')} ended with ${done.exitCode ?? done.signal}\n` +
      `${done.stdout}\n${done.stderr}`,
  );
}
