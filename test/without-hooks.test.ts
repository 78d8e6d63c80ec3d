/** Goal: without hooks that watch promises, a stray error still fails the run, and is named. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const preload = fileURLToPath(new URL('./without-hooks.mjs', import.meta.url));
const strays = {
  rejection: "void Promise.reject(new Error('stray'));",
  throw: "setImmediate(() => { throw new Error('stray'); });",
};

for (const [name, statement] of Object.entries(strays)) {
  test(`a stray ${name} fails its file, and is named`, async () => {
    const folder = await mkdtemp(join(tmpdir(), 'ferry-stray-'));
    try {
      const path = join(folder, 'stray.test.mjs');
      const wait = 'await new Promise((wake) => setImmediate(() => setImmediate(wake)));';
      const body = `async () => { ${statement} ${wait} }`;
      await writeFile(path, `import { test } from 'node:test'; test('fine', ${body});`);
      const { code, stdout } = await run(['--test', '--import', preload, path]);
      assert.equal(code, 1);
      assert.match(stdout, /the error "Error: stray"/);
    } finally {
      await rm(folder, { recursive: true });
    }
  });
}

/** Of a runner of its own, not of a child of this one. */
async function run(args: readonly string[]): Promise<{ code: unknown; stdout: string }> {
  const { NODE_TEST_CONTEXT: _context, ...env } = process.env;
  return new Promise((settle) => {
    execFile(process.execPath, args, { env }, (error, stdout) =>
      settle({ code: error?.code ?? 0, stdout }),
    );
  });
}
