/** Goal: a guest boots from an export, writes to it, and finds it all at the next boot. */
import assert from 'node:assert/strict';
import { constants, copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { place } from '../cli/ferry.ts';
import { runOk } from '../interop/processes.ts';
import { boot, guest, jobText } from './guest.ts';

test('a guest boots from an export and does file I/O on it, with a restart between', async () => {
  const machine = await guest();
  await using here = await place();
  const image = here.path('root.img');
  await copyFile(join(machine.folder, 'root.img'), image, constants.COPYFILE_FICLONE);
  for (const [index, name] of ['boot-write.sh', 'boot-read.sh'].entries()) {
    const server = await here.serve('export', 'root.img', '--listen', `unix:${index}.sock`);
    const printed = await boot(machine, { job: await jobText(name), rootDisk: server.uri });
    if (index === 1) assert.match(printed, /^step: read .*\n4$/m);
    server.kill('SIGINT');
    assert.equal((await server.finished()).exitCode, 0);
    await runOk('/usr/sbin/e2fsck', ['-fn', image]);
  }
});
