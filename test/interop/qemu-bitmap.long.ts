/** Goal: a disk of a running QEMU is backed up at one moment, by bitmaps that tell the truth. */
import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { type TestContext, test } from 'node:test';
import { Qmp } from '../../src/track/qmp.ts';
import { env, type Line, type Place, place } from '../cli/ferry.ts';
import { type Running, runOk, start } from './processes.ts';
import { requireTool } from './tools.ts';

class Machine implements AsyncDisposable {
  readonly #running: Running;
  readonly #qmp: Qmp;

  private constructor(running: Running, qmp: Qmp) {
    this.#running = running;
    this.#qmp = qmp;
  }

  /** QEMU without a processor; what a guest would write is written through its monitor. */
  static async start(here: Place, program: string): Promise<Machine> {
    const file = `driver=file,node-name=file0,filename=${here.path('disk.qcow2')}`;
    const sockets = ['qmp.sock', 'writer.sock'].map((name) => here.path(name));
    const running = start(program, [
      ...['-machine', 'none', '-nodefaults', '-display', 'none'],
      ...['-blockdev', file, '-blockdev', 'driver=qcow2,node-name=disk0,file=file0'],
      ...sockets.flatMap((path) => ['-qmp', `unix:${path},server=on,wait=off`]),
    ]);
    for (const path of sockets) await running.socket(path);
    return new Machine(running, await Qmp.connect(env, sockets[1]!));
  }

  async write(command: string): Promise<void> {
    const line = `qemu-io disk0 "write ${command}"`;
    const said = await this.execute('human-monitor-command', { 'command-line': line });
    assert.equal(said, ''); // The report goes to its own standard output, errors come back.
  }

  execute(command: string, values: Record<string, unknown> = {}): Promise<unknown> {
    return this.#qmp.execute(command, values);
  }

  async bitmaps(): Promise<readonly { name: string; recording: boolean }[]> {
    const nodes = (await this.execute('query-named-block-nodes', { flat: true })) as Line[];
    const found = nodes.find((node) => node['node-name'] === 'disk0')!;
    return (found['dirty-bitmaps'] ?? []) as { name: string; recording: boolean }[];
  }

  async quit(): Promise<void> {
    await this.execute('quit').catch(() => undefined); // It may be gone before it answers.
    await this.#running.finished();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#qmp[Symbol.asyncDispose]();
    await this.#running[Symbol.asyncDispose]();
  }
}

type Tools = { readonly img: string; readonly qemu: string };

function tools(context: TestContext): Tools | undefined {
  const img = requireTool(context, 'qemu-img', 'qemu-utils');
  const qemu = requireTool(context, 'qemu-system-x86_64', 'qemu-system-x86');
  return img !== undefined && qemu !== undefined ? { img, qemu } : undefined;
}

test('bitmaps of a running QEMU', { timeout: 280_000 }, async (context) => {
  const found = tools(context);
  if (found === undefined) return;
  const { img, qemu } = found;
  await using here = await place();
  await here.ok('init');
  await runOk(img, ['create', '-q', '-f', 'qcow2', here.path('disk.qcow2'), '8M']);
  let machine = await Machine.start(here, qemu);
  await using _last = { [Symbol.asyncDispose]: () => machine[Symbol.asyncDispose]() };
  const uri = `qmp+unix:///disk0?socket=${here.path('qmp.sock')}`;
  const expected = Buffer.alloc(8 * 2 ** 20);
  const write = async (pattern: number, offset: number, length: number) => {
    await machine.write(`-P ${pattern} ${offset} ${length}`);
    expected.fill(pattern, offset, offset + length);
  };
  const backUp = async () => {
    const line = (await here.json(0, 'backup', uri, '--name', 'vm')).at(-1)!;
    await here.ok('restore', 'vm', 'out.raw');
    assert.ok((await readFile(here.path('out.raw'))).equals(expected));
    assert.equal(line.oneMoment, true);
    const passed = line.passed as { source: string; code: string }[];
    return [line.source, line.readBytes, passed.find(({ source }) => source === 'qemu')?.code];
  };
  await write(1, 0, 2 ** 20);
  assert.deepEqual(await backUp(), ['full', 2 ** 20, 'first']);
  assert.deepEqual(
    (await machine.bitmaps()).map(({ recording }) => recording),
    [true],
  );
  await write(2, 3 * 2 ** 20, 65_536);
  await write(3, 5 * 2 ** 20, 100);
  assert.deepEqual(await backUp(), ['qemu', 2 * 65_536, undefined]);
  assert.equal((await machine.bitmaps()).length, 1);
  // A run that fails leaves the bitmap as it was, with what was written meanwhile.
  await write(4, 0, 4096);
  const failed = await here.failure(1, 'backup', uri, '--name', 'vm', '--tag', 'not a tag');
  assert.ok(failed.code.length > 0);
  assert.equal((await machine.bitmaps()).length, 1);
  await write(5, 65_536, 4096);
  assert.deepEqual(await backUp(), ['qemu', 2 * 65_536, undefined]);
  // It is stored in the image when QEMU ends, and goes on when it starts.
  await write(6, 2 ** 20, 4096);
  await machine.quit();
  await machine[Symbol.asyncDispose]();
  machine = await Machine.start(here, qemu);
  await write(7, 2 * 2 ** 20, 4096);
  assert.deepEqual(await backUp(), ['qemu', 2 * 65_536, undefined]);
  // Removed by somebody.
  const [bitmap] = await machine.bitmaps();
  await machine.execute('block-dirty-bitmap-remove', { node: 'disk0', name: bitmap!.name });
  assert.equal((await backUp())[2], 'lost');
  const left = await readdir(here.path('state/qemu'), { recursive: true });
  assert.deepEqual(
    left.filter((name) => /aside|nbd/.test(name)),
    [],
  );
});

test('a killed backup leaves a disk that the next one takes up', {
  timeout: 280_000,
}, async (context) => {
  const found = tools(context);
  if (found === undefined) return;
  await using here = await place();
  await here.ok('init');
  await runOk(found.img, ['create', '-q', '-f', 'qcow2', here.path('disk.qcow2'), '64M']);
  await using machine = await Machine.start(here, found.qemu);
  const uri = `qmp+unix:///disk0?socket=${here.path('qmp.sock')}`;
  await machine.write('-P 1 0 32M');
  await here.ok('backup', uri, '--name', 'vm');
  await machine.write('-P 2 1M 16M');
  const killed = here.start('backup', uri, '--name', 'vm');
  // The moment has begun when its bitmap is there.
  while ((await machine.bitmaps()).length < 2 && killed.child.exitCode === null);
  killed.kill('SIGKILL');
  await killed.finished();
  const taken = (await here.json(0, 'backup', uri, '--name', 'vm')).at(-1)!;
  assert.deepEqual([taken.source, taken.readBytes], ['qemu', 16 * 2 ** 20]);
  await machine.write('-P 3 40M 64k');
  const next = (await here.json(0, 'backup', uri, '--name', 'vm')).at(-1)!;
  assert.equal(next.source, 'qemu');
  await here.ok('restore', 'vm', 'out.raw');
  const bytes = await readFile(here.path('out.raw'));
  assert.deepEqual([bytes[0], bytes[2 ** 20], bytes[40 * 2 ** 20]], [1, 2, 3]);
});
