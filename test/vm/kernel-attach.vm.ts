/** Goal: `ferry attach /dev/nbdN` in a real kernel: file systems, restarts, clean ends. */
import assert from 'node:assert/strict';
import { readFile, truncate, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { place } from '../cli/ferry.ts';
import { runOk } from '../interop/processes.ts';
import { boot, guest, jobText } from './guest.ts';

test('a kernel disk bears file systems, outlives its server, and goes away cleanly', async (context) => {
  const machine = await guest();
  await using here = await place();
  const image = here.path('disk.img');
  await writeFile(image, '');
  await truncate(image, 128 * 1024 * 1024);
  const server = await here.serve('export', 'disk.img', '--listen', '127.0.0.1:0');
  const port = /:(\d+)\//.exec(server.uri)![1]!;
  const job = `HOST_PORT=${port}\n${await jobText('kernel-attach.sh')}`;
  const printed = await boot(machine, { job, network: true });
  // When each step began, and what the driver had to say: a stall shows here.
  for (const line of printed.match(/^(step: |.*block nbd).*$/gm) ?? []) context.diagnostic(line);
  server.kill('SIGINT');
  assert.equal((await server.finished()).exitCode, 0);
  await runOk('/usr/sbin/e2fsck', ['-fn', image]);
  // What the guest wrote through its kernel lies in the host's file.
  const sums = [...printed.matchAll(/^([0-9a-f]{64}) {2}(host-\d)$/gm)];
  assert.equal(sums.length, 4);
  for (const [, sum, name] of sums) {
    await runOk('/usr/sbin/debugfs', ['-R', `dump /${name} ${here.path(name!)}`, image]);
    const bytes = await readFile(here.path(name!));
    const { createHash } = await import('node:crypto');
    assert.equal(createHash('sha256').update(bytes).digest('hex'), sum);
  }
});
