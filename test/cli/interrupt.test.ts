/** Goal: an interrupted backup ends cleanly, and the next one goes on from what was stored. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { memory } from '../../src/device/index.ts';
import { serve } from '../../src/nbd/index.ts';
import { deviceOver, env, type Line, linesOf, MIB, noise, type Place, place } from './ferry.ts';

/** More than a pack, so that one is finished before the gate is reached. */
const SIZE = 72 * MIB;
const GATE = 64 * MIB;

type Gated = AsyncDisposable & {
  readonly uri: string;
  /** Resolves when a client reads behind the gate; it waits there. */
  readonly reached: Promise<void>;
  open(): void;
};

/** Serves a volume that does not compress; reads behind the gate wait until it is opened. */
async function gatedSource(here: Place): Promise<Gated> {
  const base = memory('gated', SIZE);
  for (let at = 0; at < SIZE; at += MIB) await base.write(noise(MIB, 1 + at / MIB), at, 0);
  const reached = Promise.withResolvers<void>();
  const opened = Promise.withResolvers<void>();
  const device = deviceOver(base, {
    async read(target, offset) {
      if (offset >= GATE) {
        reached.resolve();
        await opened.promise;
      }
      await base.read(target, offset);
    },
  });
  const address = { kind: 'unix', path: here.path('gated.sock') } as const;
  const server = await serve(env, { address, exports: new Map([['gated', device]]) });
  return {
    uri: server.uri,
    reached: reached.promise,
    open: opened.resolve,
    async [Symbol.asyncDispose]() {
      opened.resolve();
      await server.close();
    },
  };
}

async function resumes(here: Place, source: Gated): Promise<void> {
  source.open();
  const [summary] = (await here.json(0, 'backup', source.uri, '--name', 'vm')) as [Line];
  assert.ok(Number(summary.adoptedPacks) >= 1);
  assert.ok(Number(summary.newBytes) < SIZE - 16 * MIB, `${summary.newBytes} were stored again`);
  await here.ok('check', '--read-data');
  await here.ok('restore', 'vm', 'vm.img', '--verify');
}

test('SIGINT ends a backup with 130 and says what is kept; the next run takes it up', async () => {
  await using here = await place();
  await here.ok('init');
  await using source = await gatedSource(here);
  const child = here.start('backup', source.uri, '--name', 'vm', '--json');
  await source.reached;
  child.kill('SIGINT');
  source.open();
  const { exitCode, stderr } = await child.finished();
  assert.equal(exitCode, 130, stderr);
  const [error] = linesOf(stderr);
  assert.equal(error!.code, 'CLI_INTERRUPTED');
  assert.match(String(error!.hint), /kept; run the same command again/);
  assert.equal((await here.json(0, 'ls'))[0]!.snapshots, 0);
  await resumes(here, source);
});

test('after kill -9 the next run takes up what was stored', async () => {
  await using here = await place();
  await here.ok('init');
  await using source = await gatedSource(here);
  const child = here.start('backup', source.uri, '--name', 'vm', '--json');
  await source.reached;
  child.kill('SIGKILL');
  await once(child.child, 'close');
  assert.equal((await here.json(0, 'ls'))[0]!.snapshots, 0);
  await resumes(here, source);
});

test('SIGTERM ends a restore with 143 and says that the target is not whole', async () => {
  await using here = await place();
  await here.ok('init');
  const bytes = noise(8 * MIB, 1);
  const base = memory('source', bytes.byteLength);
  await base.write(bytes, 0, 0);
  const target = memory('target', bytes.byteLength);
  const reached = Promise.withResolvers<void>();
  const opened = Promise.withResolvers<void>();
  const slow = deviceOver(target, {
    async write(source, offset, flags) {
      reached.resolve();
      await opened.promise;
      await target.write(source, offset, flags);
    },
  });
  const address = { kind: 'unix', path: here.path('s.sock') } as const;
  const exports = new Map([
    ['source', base],
    ['target', slow],
  ]);
  await using server = await serve(env, { address, exports });
  await here.ok('backup', server.uriOf('source'), '--name', 'vm');
  const child = here.start('restore', 'vm', server.uriOf('target'));
  await reached.promise;
  child.kill('SIGTERM');
  opened.resolve();
  const { exitCode, stderr } = await child.finished();
  assert.equal(exitCode, 143, stderr);
  assert.match(stderr, /^ferry: terminated by a signal: .* does not hold all of vm@/);
});
