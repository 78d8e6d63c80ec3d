/** Goal: files of the real disk behave as env.ts says; each failure is typed and names its path. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import type { OpenFile } from '../env.ts';
import { nodeFiles } from './files.ts';
import { native } from './native.ts';

const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'ferry-files-'));
after(() => fs.rmSync(directory, { recursive: true }));
const files = nodeFiles();
const at = (name: string): string => path.join(directory, name);

function transfer(
  file: OpenFile,
  kind: 'read' | 'write',
  bytes: Uint8Array,
  offsetBytes: number,
): Promise<number> {
  return new Promise((resolve, reject) => {
    file[kind](bytes, offsetBytes, (error, count) => (error ? reject(error) : resolve(count)));
  });
}

test('what was written is read back, and 0 bytes are read at the end', async () => {
  const file = await files.open(at('plain'), 'create');
  assert.equal(await transfer(file, 'write', Uint8Array.of(1, 2, 3), 10), 3);
  await file.sync();
  const target = new Uint8Array(5);
  assert.equal(await transfer(file, 'read', target, 9), 4);
  assert.deepEqual([...target], [0, 1, 2, 3, 0]);
  assert.equal(await transfer(file, 'read', target, 13), 0);
  const { kind, sizeBytes } = await file.stat();
  assert.deepEqual({ kind, sizeBytes }, { kind: 'file', sizeBytes: 13 });
  await file.truncate(2);
  assert.equal((await files.stat(file.path)).sizeBytes, 2);
  await file.close();
  await file.close();
});

test('large writes at once go one after the other: all of them arrive, each failure is told', async () => {
  const file = await files.open(at('large'), 'create');
  const length = 300 * 1024;
  const write = (number: number) =>
    transfer(file, 'write', new Uint8Array(length).fill(number + 1), number * length);
  assert.deepEqual(await Promise.all([0, 1, 2].map(write)), [length, length, length]);
  const found = fs.readFileSync(file.path);
  for (const number of [0, 1, 2]) {
    const part = found.subarray(number * length, (number + 1) * length);
    assert.ok(part.every((byte) => byte === number + 1));
  }
  const pending = [3, 4, 5].map(write);
  const closing = file.close();
  const outcomes = await Promise.allSettled(pending);
  await closing;
  const codes = outcomes.map((outcome) => outcome.status === 'rejected' && outcome.reason.code);
  assert.deepEqual(codes.slice(1), ['ENV_CLOSED', 'ENV_CLOSED']);
});

test('a closed file answers ENV_CLOSED, also after its number was given to another', async () => {
  const file = await files.open(at('closed'), 'create');
  await file.close();
  const other = await files.open(at('other'), 'create');
  await assert.rejects(transfer(file, 'write', Uint8Array.of(1), 0), { code: 'ENV_CLOSED' });
  await assert.rejects(file.stat(), { code: 'ENV_CLOSED' });
  await assert.rejects(file.sync(), { code: 'ENV_CLOSED' });
  assert.throws(() => file.nextData(0), { code: 'ENV_CLOSED' });
  assert.throws(() => file.punchHole(0, 1), { code: 'ENV_CLOSED' });
  assert.equal((await other.stat()).sizeBytes, 0);
  await other.close();
});

test('each mode of opening does what it promises', async () => {
  await assert.rejects(files.open(at('modes'), 'read'), { code: 'ENV_NOT_FOUND' });
  await assert.rejects(files.open(at('modes'), 'update'), { code: 'ENV_NOT_FOUND' });
  await (await files.open(at('modes'), 'write')).close();
  await (await files.open(at('modes'), 'write')).close();
  await (await files.open(at('modes'), 'update')).close();
  await assert.rejects(files.open(at('modes'), 'create'), { code: 'ENV_EXISTS' });
  const readOnly = await files.open(at('modes'), 'read');
  await assert.rejects(transfer(readOnly, 'write', Uint8Array.of(1), 0), { name: 'EnvError' });
  await readOnly.close();
});

test('failures name the call and the path, and say what to do', async () => {
  const missing = at('missing/file');
  await assert.rejects(files.open(missing, 'read'), (error: Error & { hint?: string }) => {
    assert.match(error.message, /cannot open .*missing\/file: .*\(ENOENT\)/);
    assert.ok(error.hint);
    return true;
  });
  fs.writeFileSync(at('file'), 'x');
  await assert.rejects(files.stat(at('file/below')), { code: 'ENV_NOT_A_DIRECTORY' });
  await assert.rejects(files.makeDirectory(at('file')), { code: 'ENV_NOT_A_DIRECTORY' });
  await assert.rejects(files.list(missing), { code: 'ENV_NOT_FOUND' });
  await assert.rejects(files.open('a\0b', 'read'), { name: 'EnvError' });
});

test('directories and pipes are not opened, and a pipe does not hang', async () => {
  await assert.rejects(files.open(directory, 'read'), { code: 'ENV_IS_A_DIRECTORY' });
  await assert.rejects(files.open(directory, 'update'), { code: 'ENV_IS_A_DIRECTORY' });
  execFileSync('mkfifo', [at('pipe')]);
  await assert.rejects(files.open(at('pipe'), 'read'), { code: 'ENV_INVALID' });
  await assert.rejects(files.open(at('pipe'), 'update'), { code: 'ENV_INVALID' });
  assert.equal((await files.stat(at('pipe'))).kind, 'other');
});

test('a symbolic link is followed by stat, and is neither file nor directory to statEntry', async () => {
  fs.writeFileSync(at('target'), 'x');
  fs.symlinkSync('target', at('symbolic'));
  assert.equal((await files.stat(at('symbolic'))).kind, 'file');
  assert.equal((await files.statEntry(at('symbolic'))).kind, 'other');
  assert.equal((await files.statEntry(at('target'))).kind, 'file');
  await assert.rejects(files.statEntry(at('nothing')), { code: 'ENV_NOT_FOUND' });
});

test('link is an atomic put-if-absent, and directories list their names in order', async () => {
  await files.makeDirectory(at('d'));
  await files.makeDirectory(at('d'));
  for (const name of ['b', 'a', 'B', 'ä'])
    await (await files.open(at(`d/${name}`), 'create')).close();
  await assert.rejects(files.link(at('d/a'), at('d/b')), { code: 'ENV_EXISTS' });
  await files.link(at('d/a'), at('d/c'));
  await files.rename(at('d/c'), at('d/e'));
  await files.syncDirectory(at('d'));
  assert.deepEqual(await files.list(at('d')), ['B', 'a', 'b', 'e', 'ä']);
  await assert.rejects(files.removeDirectory(at('d')), { code: 'ENV_EXISTS' });
  for (const name of await files.list(at('d'))) await files.remove(at(`d/${name}`));
  await files.removeDirectory(at('d'));
  await assert.rejects(files.remove(at('d/a')), { code: 'ENV_NOT_FOUND' });
});

test('holes are found, punched, and read as zero', async () => {
  assert.ok(native(), 'koffi must load on the machines that run the tests');
  const file = await files.open(at('sparse'), 'create');
  await file.truncate(2 ** 40);
  const block = new Uint8Array(8192).fill(7);
  await transfer(file, 'write', block, 2 ** 39);
  assert.deepEqual(file.nextData(0), { offsetBytes: 2 ** 39, lengthBytes: 8192 });
  assert.deepEqual(file.nextData(2 ** 39 + 10), { offsetBytes: 2 ** 39 + 10, lengthBytes: 8182 });
  assert.equal(file.nextData(2 ** 39 + 8192), undefined);
  assert.equal(file.nextData(2 ** 40), undefined);
  assert.equal(file.punchHole(2 ** 39, 4096), true);
  assert.deepEqual(file.nextData(0), { offsetBytes: 2 ** 39 + 4096, lengthBytes: 4096 });
  await transfer(file, 'read', block, 2 ** 39);
  assert.deepEqual([block[0], block[4095], block[4096]], [0, 0, 7]);
  assert.equal((await file.stat()).sizeBytes, 2 ** 40);
  await file.close();
});

test('a lock is held by one at a time and dies with its process', async () => {
  const first = await files.lock(at('lock'));
  assert.ok(first);
  assert.equal(await files.lock(at('lock')), undefined);
  await first.release();
  await first.release();
  const module = JSON.stringify(new URL('files.ts', import.meta.url).href);
  const script = `
    const { nodeFiles } = await import(${module});
    if (await nodeFiles().lock(${JSON.stringify(at('lock'))})) console.log('locked');
    process.kill(process.pid, 'SIGKILL');`;
  assert.throws(
    () => execFileSync(process.execPath, ['--input-type=module', '-e', script], { stdio: 'pipe' }),
    (error: { stdout?: Buffer; signal?: string }) =>
      error.signal === 'SIGKILL' && String(error.stdout) === 'locked\n',
  );
  const again = await files.lock(at('lock'));
  assert.ok(again);
  await again.release();
});
