/** Goal: a provider and an agent, as a person runs them: paired, replicated, restored, refused. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFile, stat } from 'node:fs/promises';
import { test } from 'node:test';
import { connect } from '../../src/nbd/index.ts';
import { type Running, run, start } from '../interop/processes.ts';
import {
  env,
  ferryPath,
  type Line,
  linesOf,
  MIB,
  noise,
  overwrite,
  type Place,
  place,
  writeImage,
} from './ferry.ts';

const SIZE = 3 * MIB + 4096;

type Serving = { readonly child: Running; readonly uri: string; readonly token: string };

/** As another machine would have it. */
function provider(here: Place) {
  const FERRY_STATE_DIR = here.path('provider');
  return { cwd: here.folder, env: { ...here.variables, FERRY_STATE_DIR } };
}

async function serve(here: Place, ...words: string[]): Promise<Serving> {
  const child = start(ferryPath, ['serve', '--json', ...words], provider(here));
  const { uri, token } = JSON.parse(await child.line('"state":"ready"'));
  return { child, uri, token };
}

async function served(...words: string[]): Promise<Place & { serving: Serving }> {
  const here = await place();
  await here.ok('init');
  await writeImage(here.path('disk.img'), SIZE, { 0: noise(MIB, 1), [2 * MIB]: noise(70_000, 2) });
  const serving = await serve(here, '--listen', '127.0.0.1:0', ...words);
  const dispose = here[Symbol.asyncDispose].bind(here);
  return Object.assign(here, {
    serving,
    async [Symbol.asyncDispose]() {
      await serving.child[Symbol.asyncDispose]();
      await dispose();
    },
  });
}

async function replicated(here: Place, uri: string, ...words: string[]): Promise<Line> {
  const lines = await here.json(0, 'replicate', 'disk.img', '--to', uri, '--once', ...words);
  return lines.at(-1)!;
}

async function checkRestored(here: Place, volume: string): Promise<void> {
  const target = here.path(`${volume.replaceAll(/\W/g, '-')}.out`);
  await here.ok('restore', volume, target);
  assert.ok((await readFile(here.path('disk.img'))).equals(await readFile(target)), volume);
}

test('what an agent replicates once is restored from the repository of the provider', async () => {
  await using here = await served();
  const { uri, token } = here.serving;
  await here.ok('pair', uri, token);
  const first = await replicated(here, uri);
  assert.deepEqual([first.volume, first.epoch, first.dataBytes], ['disk', 1, MIB + 131_072]);
  await checkRestored(here, 'disk@latest');
  const again = await replicated(here, uri);
  assert.deepEqual([again.dataBytes, again.snapshot], [0, first.snapshot]);
  await overwrite(here.path('disk.img'), 5_000, noise(100, 3));
  const third = await replicated(here, uri);
  assert.equal(third.dataBytes, 65_536);
  await checkRestored(here, 'disk@latest');
  // The same content under another name: hashes go first, and nothing follows them.
  const other = await replicated(here, uri, '--name', 'copy');
  assert.equal(other.epoch, 1);
  assert.ok(Number(other.knownBytes) >= MIB && Number(other.sentBytes) < 80_000);
  await checkRestored(here, 'copy@latest');
  const told = linesOf((await run(ferryPath, ['status', '--json'], provider(here))).stdout)[0]!;
  const volumes = told.volumes as { volume: string; epoch: number }[];
  assert.deepEqual(
    volumes.map(({ volume, epoch }) => [volume, epoch]),
    [
      ['copy', 1],
      ['disk', third.epoch],
    ],
  );
  here.serving.child.kill('SIGTERM');
  const { exitCode, stderr } = await here.serving.child.finished();
  assert.equal(exitCode, 0);
  for (const line of linesOf(stderr)) assert.equal(line.level, 'info', String(line.msg));
  assert.equal((await stat(here.path('state/node'))).mode & 0o077, 0);
  const stopped = await run(ferryPath, ['status', '--json'], provider(here));
  assert.deepEqual([stopped.exitCode, JSON.parse(stopped.stderr).code], [1, 'CLI_NO_PROVIDER']);
});

test('a token is good for one use, and a node that was revoked is not let in', async () => {
  await using here = await served();
  const { uri, token } = here.serving;
  const unknown = await here.failure(1, 'replicate', 'disk.img', '--to', uri, '--once');
  assert.equal(unknown.code, 'SERVICE_UNKNOWN_PEER');
  assert.equal((await here.failure(1, 'pair', uri, token.slice(0, -1))).code, 'SERVICE_TOKEN');
  await here.ok('pair', uri, token);
  const used = await here.failure(1, 'pair', uri, token);
  assert.match(used.message, /WIRE_TOKEN/);
  const [known] = await here.json(0, 'peers');
  assert.equal(known!.role, 'provider');
  await replicated(here, uri);
  const there = await run(ferryPath, ['peers', '--json'], provider(here));
  const [agent] = linesOf(there.stdout);
  assert.equal(agent!.role, 'agent');
  const words = ['peers', '--revoke', String(agent!.fingerprint)];
  assert.equal((await run(ferryPath, words, provider(here))).exitCode, 0);
  const revoked = await here.failure(1, 'replicate', 'disk.img', '--to', uri, '--once');
  assert.match(revoked.message, /WIRE_NOT_TRUSTED/);
  assert.equal((await here.failure(1, 'peers', '--revoke', 'nobody')).code, 'SERVICE_UNKNOWN_PEER');
});

test('an agent is revoked before it has come, and words that `peers` would not heed are refused', async () => {
  await using here = await place();
  for (const words of [
    ['--vouched'],
    ['db7', '--invite'],
    ['db7', '--revoke', 'db7'],
    ['--revoke', 'db7', '--rights', 'none'],
    ['--rights', 'none'],
  ]) {
    assert.equal((await here.failure(2, 'peers', ...words)).code, 'CLI_USAGE', words.join(' '));
  }
  await here.ok('peers', '--vouched', '--revoke', 'db7');
  assert.match(await here.ok('peers'), /^db7 +agent, vouched .* revoked$/m);
  await here.ok('peers', 'db7', '--rights', 'default');
  assert.match(await here.ok('peers'), /^db7 .* read, write$/m);
});

test('a volume beyond the quota is refused, and so is the name of a backup', async () => {
  await using here = await served('--quota', '4M', '--volumes', '1');
  const { uri, token } = here.serving;
  await here.ok('pair', uri, token);
  await here.ok('backup', 'disk.img', '--name', 'mine');
  const refused = async (name: string, code: string) => {
    const words = ['replicate', 'disk.img', '--to', uri, '--once', '--name', name];
    const { message } = await here.failure(1, ...words);
    assert.match(message, new RegExp(code));
  };
  await refused('mine', 'REPLICATE_VOLUME_TAKEN');
  await replicated(here, uri);
  await refused('second', 'REPLICATE_QUOTA');
});

test('a running export is replicated while it is written, through a provider that is killed', async () => {
  await using here = await served();
  const { uri, token } = here.serving;
  await here.ok('pair', uri, token);
  const exported = await here.serve('export', 'disk.img', '--name', 'live');
  const agent = here.start('replicate', 'live', '--to', uri, '--interval', '1s', '--json');
  await agent.line('"epoch":1');
  await using device = await connect(env, exported.uri);
  await device.write(noise(8192, 5), 40_960, 0);
  await device.flush();
  const second = JSON.parse(await agent.line('"epoch":2'));
  assert.equal(second.dataBytes, 8192);
  here.serving.child.kill('SIGKILL');
  await once(here.serving.child.child, 'close');
  await device.write(noise(4096, 6), 2 * MIB, 0);
  await device.flush();
  const revived = await serve(here, '--listen', uri.slice('ferry://'.length));
  await using _again = revived.child;
  await agent.line('"epoch":3');
  agent.kill('SIGINT');
  const { exitCode, stdout } = await agent.finished();
  assert.deepEqual([exitCode, linesOf(stdout).at(-1)!.state], [0, 'stopped']);
  const lines = await here.json(0, 'replicate', 'live', '--to', uri, '--once');
  assert.ok(lines.at(-1)!.snapshot !== undefined);
  await checkRestored(here, 'live@latest');
});

test('an export is kept present at a provider, and with --sync a flush waits for that', async () => {
  await using here = await served();
  const { uri, token } = here.serving;
  await here.ok('pair', uri, token);
  const words = ['export', 'disk.img', '--name', 'live', '--to', uri, '--sync=20s', '--json'];
  const exported = here.start(...words);
  const { uri: served_ } = JSON.parse(await exported.line('"state":"ready"'));
  await using device = await connect(env, served_);
  await device.write(noise(8192, 5), 40_960, 0);
  await device.flush();
  // Answered: so it is there, and survives whatever happens now.
  here.serving.child.kill('SIGKILL');
  await once(here.serving.child.child, 'close');
  await device.write(noise(4096, 6), 2 * MIB, 0);
  const revived = await serve(here, '--listen', uri.slice('ferry://'.length));
  await using _again = revived.child;
  await device.flush();
  await device.write(noise(4096, 7), 0, 0);
  await device[Symbol.asyncDispose]();
  exported.kill('SIGINT');
  const { exitCode, stdout } = await exported.finished();
  assert.equal(exitCode, 0);
  const lines = linesOf(stdout);
  assert.deepEqual(
    lines.slice(-2).map(({ state }) => state),
    ['complete', 'stopped'],
  );
  const again = await replicated(here, uri, '--name', 'live');
  assert.equal(again.dataBytes, 0);
  await checkRestored(here, 'live@latest');
});

test('an export begins while its provider is down, and is kept present there once that answers', async () => {
  await using here = await served();
  const { uri, token } = here.serving;
  const words = ['export', 'disk.img', '--name', 'live', '--to', uri, '--json'];
  assert.equal((await here.failure(1, ...words)).code, 'SERVICE_UNKNOWN_PEER');
  await here.ok('pair', uri, token);
  here.serving.child.kill('SIGKILL');
  await once(here.serving.child.child, 'close');
  const exported = here.start(...words);
  const { uri: served_ } = JSON.parse(await exported.line('"state":"ready"'));
  await using device = await connect(env, served_);
  await device.write(noise(8192, 5), 40_960, 0);
  await device.flush();
  const [told, sum] = await here.json(0, 'status');
  const [absence] = told!.providers as Line[];
  assert.deepEqual([told!.volume, told!.refusal], ['live', null]);
  assert.deepEqual([absence!.isConnected, absence!.code], [false, 'ENV_REFUSED']);
  assert.ok(Date.parse(String(absence!.since)) <= Date.now() && Number(absence!.backlogBytes) > 0);
  assert.deepEqual([sum!.providers, sum!.exports, sum!.unconnected], [0, 1, 1]);
  assert.match(
    await here.ok('status'),
    /^kept at .*: nothing heard yet, .* NOT CONNECTED since 2/m,
  );
  const revived = await serve(here, '--listen', uri.slice('ferry://'.length));
  await using _again = revived.child;
  await exported.line('"state":"connected"');
  await exported.line('"epoch":1');
  await device[Symbol.asyncDispose]();
  exported.kill('SIGINT');
  const { exitCode, stdout, stderr } = await exported.finished();
  assert.deepEqual([exitCode, linesOf(stdout).at(-1)!.state], [0, 'stopped']);
  const [refused, absent] = linesOf(stderr).map(({ message }) => String(message));
  assert.match(refused!, /nobody listens there.*trying again/);
  assert.match(absent!, /^live is served without 127\.0\.0\.1.*is sent when it answers$/);
  const again = await replicated(here, uri, '--name', 'live');
  assert.equal(again.dataBytes, 0);
  await checkRestored(here, 'live@latest');
});
