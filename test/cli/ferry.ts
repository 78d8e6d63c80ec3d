/**
 * Runs `ferry` in a scratch place with its own repository and state directory: what ends by itself
 * within this process, as bin/ferry would, what goes on as a process of its own.
 */
import assert from 'node:assert/strict';
import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runWords } from '../../src/cli/run-words.ts';
import { fakeTerminal } from '../../src/cli/testing/fake-terminal.ts';
import { nodeEnv } from '../../src/core/index.ts';
import type { Device } from '../../src/device/index.ts';
import { type Finished, type Running, start } from '../interop/processes.ts';

export const env = nodeEnv();
export const MIB = 1024 * 1024;
export const ferryPath = fileURLToPath(new URL('../../bin/ferry', import.meta.url));

export type Line = Readonly<Record<string, unknown>> & { readonly message_type: string };

export type Served = Running & { readonly uri: string };

/** Disposing it ends what was started and removes the folder. */
export type Place = AsyncDisposable & {
  readonly folder: string;
  readonly variables: Readonly<Record<string, string | undefined>>;
  path(name: string): string;
  /** Runs to the end, whatever it is. */
  ferry(...words: string[]): Promise<Finished>;
  /** Must end with 0; answers stdout. */
  ok(...words: string[]): Promise<string>;
  /** Adds --json, must end with `status`; every line of stdout parsed, the summary last. */
  json(status: number, ...words: string[]): Promise<Line[]>;
  /** The error line that a failing command prints with --json. */
  failure(status: number, ...words: string[]): Promise<{ code: string; message: string }>;
  start(...words: string[]): Running;
  /** Starts a command that serves, with --json, and waits for its URI. */
  serve(...words: string[]): Promise<Served>;
};

export type Surroundings = {
  readonly cwd: string;
  readonly env: Readonly<Record<string, string | undefined>>;
};

/** Without the half second that a process takes to start; the exit status is that of bin/ferry. */
export async function runFerry(
  words: readonly string[],
  { cwd, env: variables }: Surroundings,
): Promise<Finished> {
  process.chdir(cwd);
  const terminal = fakeTerminal();
  const exitCode = await runWords(words, { env, terminal, variables });
  return { exitCode, signal: null, stdout: terminal.out, stderr: terminal.err };
}

export async function place(): Promise<Place> {
  const folder = await mkdtemp(join(tmpdir(), 'ferry-cli-'));
  const variables = {
    ...process.env,
    FERRY_REPO: join(folder, 'repo'),
    FERRY_STATE_DIR: join(folder, 'state'),
  };
  const options = { cwd: folder, env: variables };
  const running: Running[] = [];

  const ferry = (...words: string[]) => runFerry(words, options);

  function begin(...words: string[]): Running {
    const child = start(ferryPath, words, options);
    running.push(child);
    return child;
  }

  return {
    folder,
    variables,
    path: (name) => join(folder, name),
    ferry,
    async ok(...words) {
      const { exitCode, stdout, stderr } = await ferry(...words);
      assert.equal(exitCode, 0, `ferry ${words.join(' ')}: ${stderr}`);
      return stdout;
    },
    async json(status, ...words) {
      // How often progress is told depends on the time it takes.
      const { exitCode, stdout, stderr } = await ferry(...words, '--json', '--no-progress');
      assert.equal(exitCode, status, `ferry ${words.join(' ')}: ${stderr}`);
      const lines = linesOf(stdout);
      assert.equal(lines.at(-1)?.message_type, 'summary', stdout);
      return lines;
    },
    async failure(status, ...words) {
      const { exitCode, stdout, stderr } = await ferry(...words, '--json');
      assert.equal(exitCode, status, `ferry ${words.join(' ')}: ${stdout}${stderr}`);
      const [error, ...more] = linesOf(stderr);
      assert.deepEqual(more, [], 'a failure is printed once');
      assert.deepEqual(Object.keys(error!), ['message_type', 'code', 'message', 'hint']);
      assert.equal(error!.message_type, 'error');
      assert.notEqual(error!.hint, '');
      return error as unknown as { code: string; message: string };
    },
    start: begin,
    async serve(...words) {
      const child = begin(...words, '--json');
      const ready = JSON.parse(await child.line('"state":"ready"')) as { uri: string };
      return Object.assign(child, { uri: ready.uri });
    },
    async [Symbol.asyncDispose]() {
      for (const child of running) await child[Symbol.asyncDispose]();
      await rm(folder, { recursive: true });
    },
  };
}

export function linesOf(text: string): Line[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));
}

/** Bytes that do not compress, different for each seed. */
export function noise(lengthBytes: number, seed: number): Buffer {
  const bytes = Buffer.alloc(lengthBytes);
  let state = seed * 2_654_435_761 + 1;
  for (let at = 0; at + 4 <= lengthBytes; at += 4) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes.writeUInt32LE((state ^ (state >>> 13)) >>> 0, at);
  }
  return bytes;
}

/** Writes a sparse image: `pieces` lie at these offsets, all else is hole. */
export async function writeImage(
  path: string,
  sizeBytes: number,
  pieces: Readonly<Record<number, Uint8Array>>,
): Promise<void> {
  await using file = await open(path, 'w');
  await file.truncate(sizeBytes);
  for (const [offset, bytes] of Object.entries(pieces)) {
    await file.write(bytes, 0, bytes.byteLength, Number(offset));
  }
}

/** Changes bytes of a file where they lie. */
export async function overwrite(path: string, offset: number, bytes: Uint8Array): Promise<void> {
  await using file = await open(path, 'r+');
  await file.write(bytes, 0, bytes.byteLength, offset);
}

/** `base` with some methods replaced: slow, broken, or telling when they are called. */
export function deviceOver(base: Device, changes: Partial<Device>): Device {
  const { name, sizeBytes, blockSizes, readOnly, hints, durable } = base;
  return {
    ...{ name, sizeBytes, blockSizes, readOnly, hints, durable },
    read: (target, offset) => base.read(target, offset),
    write: (source, offset, flags) => base.write(source, offset, flags),
    flush: () => base.flush(),
    zero: (length, offset, flags) => base.zero(length, offset, flags),
    trim: (length, offset, flags) => base.trim(length, offset, flags),
    extents: (length, offset, limit) => base.extents(length, offset, limit),
    [Symbol.asyncDispose]: () => base[Symbol.asyncDispose](),
    ...changes,
  };
}
