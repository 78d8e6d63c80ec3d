/** Goal: the program as a process: statuses, streams, the starter, a reader that leaves. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const ferry = fileURLToPath(new URL('../../bin/ferry', import.meta.url));
const run = (...words: string[]) => spawnSync(ferry, words, { encoding: 'utf8' });

test('the starter runs the program, called as a program or through node', () => {
  const direct = run('--version');
  assert.match(direct.stdout, /^\d+\.\d+\.\d+\n$/);
  const throughNode = spawnSync(process.execPath, [ferry, '--version'], { encoding: 'utf8' });
  assert.deepEqual([throughNode.stdout, throughNode.status], [direct.stdout, 0]);
});

test('an unknown command is a usage error, for programs as JSON', () => {
  const { status, stdout, stderr } = run('sail', '--json');
  assert.equal(status, 2);
  assert.equal(stdout, '');
  assert.equal(JSON.parse(stderr).code, 'CLI_USAGE');
});

test('no command at all shows the help on stderr', () => {
  const { status, stdout, stderr } = run();
  assert.equal(status, 2);
  assert.equal(stdout, '');
  assert.match(stderr, /^Usage: ferry/);
});

test('a reader that leaves ends the program quietly, with the documented status', async () => {
  const child = spawn(ferry, ['completions', 'bash'], { stdio: ['ignore', 'pipe', 'pipe'] });
  child.stdout.destroy();
  let stderr = '';
  child.stderr.on('data', (text) => {
    stderr += text;
  });
  const [status] = await once(child, 'close');
  assert.equal(stderr, '');
  assert.equal(status, 141);
});
