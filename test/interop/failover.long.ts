/** Goal: docs/using/failover.md holds between two machines: network namespaces and a link. */
import assert from 'node:assert/strict';
import { mkdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { ferryPath, noise, type Place, place } from '../cli/ferry.ts';
import { type Running, run, runOk, start } from './processes.ts';
import { requireCondition, requireTools, type Tools } from './tools.ts';

/** One command after the other, as a person would: each with a minute and a half at most. */
const TIMEOUT_MS = 90_000;
const VAULT = '10.97.1.2';

function toolsFor(context: TestContext): Tools | undefined {
  const isRoot = process.getuid?.() === 0;
  if (!requireCondition(context, isRoot, 'namespaces and mounts need root')) return undefined;
  const packages = {
    ...{ ip: 'iproute2', 'mkfs.ext4': 'e2fsprogs', e2fsck: 'e2fsprogs' },
    ...{ mount: 'mount', umount: 'mount', fusermount3: 'fuse3', nsenter: 'util-linux' },
  };
  return requireTools(context, packages);
}

/** What one machine has of its own: a network, and a state directory. */
class Machine {
  readonly #here: Place;
  readonly #space: string;
  readonly #variables: NodeJS.ProcessEnv;
  readonly #running: Running[] = [];

  constructor(here: Place, name: string) {
    this.#here = here;
    this.#space = `ferry-${name}-${process.pid}`;
    this.#variables = { ...here.variables, FERRY_STATE_DIR: here.path(`state-${name}`) };
  }

  get space(): string {
    return this.#space;
  }

  /** Runs to its end. */
  async ferry(...words: string[]): Promise<string> {
    return (await runOk('nsenter', this.#command(words), this.#options())).stdout;
  }

  /** Goes on until it is killed, or the machine is lost. */
  async serve(isReady: string, ...words: string[]): Promise<Record<string, string>> {
    const child = start('nsenter', this.#command([...words, '--json']), this.#options());
    this.#running.push(child);
    return JSON.parse(await child.line(isReady));
  }

  /** Waits for a line of the process that was started as number `index`. */
  async line(index: number, pattern: RegExp): Promise<string> {
    return await this.#running[index]!.line(pattern, TIMEOUT_MS);
  }

  /** All at once, without a word. */
  async lost(): Promise<void> {
    for (const child of this.#running.splice(0).reverse()) {
      child.kill('SIGKILL');
      await child.finished();
    }
  }

  async stopped(): Promise<void> {
    for (const child of this.#running.splice(0).reverse()) {
      child.kill('SIGTERM');
      await child.finished();
    }
  }

  /** Only its network is its own: `ip netns exec` would hide what is mounted, too. */
  #command(words: readonly string[]): string[] {
    return [`--net=/run/netns/${this.#space}`, ferryPath, ...words];
  }

  #options() {
    return { cwd: this.#here.folder, env: this.#variables, timeoutMs: TIMEOUT_MS };
  }
}

/** A link between both; the answer cuts it, and removes the networks. */
async function connected(ip: string, [left, right]: readonly [Machine, Machine]) {
  const own = [left.space, right.space];
  for (const space of own) await runOk(ip, ['netns', 'add', space]);
  const remove = async () => {
    for (const space of own) await run(ip, ['netns', 'delete', space]);
  };
  try {
    const ends = ['link', 'add', 'wire', 'netns', left.space, 'type', 'veth'];
    await runOk(ip, [...ends, 'peer', 'name', 'wire', 'netns', right.space]);
    for (const [at, space] of own.entries()) {
      const inside = (...words: string[]) => runOk(ip, ['-n', space, ...words]);
      await inside('address', 'add', `10.97.1.${at + 1}/24`, 'dev', 'wire');
      for (const device of ['lo', 'wire']) await inside('link', 'set', device, 'up');
    }
  } catch (error) {
    await remove();
    throw error;
  }
  const cut = () => runOk(ip, ['-n', left.space, 'link', 'set', 'wire', 'down']);
  return { cut, [Symbol.asyncDispose]: remove };
}

test('a file system goes on at the provider when its machine is lost', async (context) => {
  const tools = toolsFor(context);
  if (tools === undefined) return;
  await using here = await place();
  const web1 = new Machine(here, 'web1');
  const vault = new Machine(here, 'vault');
  await using link = await connected(tools.ip!, [web1, vault]);
  await using open = new AsyncDisposableStack();
  open.defer(async () => {
    await web1.lost();
    // Nobody serves it any more, and its folder could not be removed.
    await run(tools.fusermount3!, ['-uz', here.path('disk')]);
  });
  open.defer(() => vault.stopped());

  await vault.ferry('init');
  const { uri, token } = await vault.serve('"state":"ready"', 'serve', '--listen', `${VAULT}:7007`);
  await web1.ferry('pair', uri!, token!);
  await truncate(await made(here.path('disk.img')), 64 * 1024 * 1024);
  const words = ['export', 'disk.img', '--name', 'web', '--to', uri!, '--sync'];
  const exported = await web1.serve('"state":"ready"', ...words, '--listen', 'unix:web.sock');
  await web1.line(0, /"epoch":1/);
  await web1.serve('"state":"ready"', 'attach', exported.uri!, '--fuse', 'disk');
  const files = here.path('files');
  await mkdir(files);
  const letter = noise(3_000_000, 7);
  await writeFile(join(files, 'letter'), letter);
  await runOk(tools['mkfs.ext4']!, ['-q', '-F', '-d', files, here.path('disk')]);
  // With --sync what mkfs has flushed is at the provider.
  await link.cut();
  await web1.lost();
  await run(tools.fusermount3!, ['-uz', here.path('disk')]);

  await vault.ferry('promote', 'web', '--force');
  const there = ['export', 'replica:web', '--listen', 'unix:vault.sock'];
  const promoted = await vault.serve('"state":"ready"', ...there);
  await vault.serve('"state":"ready"', 'attach', promoted.uri!, '--fuse', 'replica');
  const mounted = here.path('srv');
  await mkdir(mounted);
  await runOk(tools.mount!, ['-o', 'loop', here.path('replica'), mounted]);
  try {
    assert.ok(letter.equals(await readFile(join(mounted, 'letter'))), 'what was written is there');
    await writeFile(join(mounted, 'answer'), 'written at the provider\n');
  } finally {
    await runOk(tools.umount!, [mounted]);
  }
  await runOk(tools.e2fsck!, ['-f', '-n', here.path('replica')]);
});

async function made(path: string): Promise<string> {
  await writeFile(path, '');
  return path;
}
