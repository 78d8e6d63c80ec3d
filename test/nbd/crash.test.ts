/** Goal: what was flushed or forced is there after kill -9 and after a power cut. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { killRound, powerCutRound, whyNoPowerCuts } from './crash.suite.ts';

const folder = mkdtempSync(join(tmpdir(), 'ferry-crash-'));
after(() => rmSync(folder, { recursive: true }));
const noPowerCuts = whyNoPowerCuts();

for (const forcing of ['flush', 'fua'] as const) {
  test(`a server killed under load has every write that was ${forcing}ed`, async () => {
    for (const loadMs of [0, 200]) {
      const { missing, promised } = await killRound({ folder, forcing, loadMs });
      assert.ok(promised > 0);
      assert.equal(missing, 0);
    }
  });

  test(`a power cut leaves every write that was ${forcing}ed`, async (t) => {
    if (noPowerCuts !== undefined) return t.skip(noPowerCuts);
    const { missing, promised } = await powerCutRound({ folder, forcing, loadMs: 200 });
    assert.ok(promised > 0);
    assert.equal(missing, 0);
  });

  test(`a server that forgets its ${forcing} is found out by a power cut`, async (t) => {
    if (noPowerCuts !== undefined) return t.skip(noPowerCuts);
    const round = { folder, forcing, loadMs: 200, isForgetful: true };
    const { missing } = await powerCutRound(round);
    assert.ok(missing > 0, 'the round could not tell that nothing was forced');
  });
}
