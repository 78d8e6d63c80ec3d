/** Goal: the crash trials find every defect of a put routine that was planted, and no other. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type CrashTrial, firstProblem, type OpenStore } from './object-crash.ts';
import { type PlantedDefect, plantedDefects, plantedStore } from './planted-store.ts';

const SEEDS = 100;

for (const failsSync of [undefined, 'sync', 'sync-directory'] as const) {
  test(`a put routine without a defect passes, where this fails once: ${failsSync}`, async () => {
    const open: OpenStore = (env) => plantedStore(env, 'none');
    const found = await firstProblem(
      SEEDS,
      failsSync === undefined ? { open } : { open, failsSync },
    );
    assert.equal(found, undefined, found?.problem);
  });
}

for (const defect of plantedDefects.filter((each) => each !== 'none')) {
  test(`this defect is found: ${defect}`, async () => {
    const open: OpenStore = (env) => plantedStore(env, defect);
    const found = await firstProblem(SEEDS, { open, ...faultFor(defect) });
    assert(found !== undefined, `${SEEDS} seeds found nothing`);
  });
}

/** Some defects show only where a sync fails. */
function faultFor(defect: PlantedDefect): Pick<CrashTrial, 'failsSync'> {
  if (defect.includes('failed sync of the file')) return { failsSync: 'sync' };
  if (defect.includes('failed sync of the directory')) return { failsSync: 'sync-directory' };
  return {};
}
