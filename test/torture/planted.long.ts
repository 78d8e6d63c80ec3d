/** Goal: the trials of the store find defects: each one that is planted, and none without one. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { run } from '../interop/processes.ts';
import { plantedDefects } from './store/planted.ts';

const child = fileURLToPath(new URL('./store/planted.fixture.ts', import.meta.url));
const TIMEOUT_MS = 170_000;

test('at least twenty defects are planted, under names of their own', () => {
  assert(new Set(plantedDefects.map(({ name }) => name)).size >= 20);
});

/** Little: what never ends takes all of it soon, and dies. */
const HEAP_MIB = 200;
/** Of Node, where what a program awaits can never come: two chunks that wait for each other. */
const UNSETTLED = 13;

for (const { name, by } of plantedDefects) {
  test(`${by} finds a store that ${name}`, async (t) => {
    const words = [`--max-old-space-size=${HEAP_MIB}`, child, name];
    const { stdout, stderr, signal, exitCode } = await run(process.execPath, words, {
      timeoutMs: TIMEOUT_MS,
    });
    const found = /^found (.*)$/m.exec(stdout)?.[1];
    const isStuck = signal === 'SIGABRT' || exitCode === UNSETTLED;
    const died = /^seed \d+\n$/m.exec(stdout) !== null && isStuck;
    assert(found !== undefined || died, `${stdout}${stderr}`);
    t.diagnostic(found ?? `the trial did not end: ${stdout.trim().split('\n').at(-1)}`);
  });
}
