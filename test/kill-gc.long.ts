/** Goal: `ferry gc`, killed with SIGKILL at random moments, loses nothing; the next one ends it. */
import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Draws } from '../sim/index.ts';
import { MIB, noise, overwrite, type Place, place, writeImage } from './cli/ferry.ts';

const KILLS = 6;
const CONTENT = 6 * MIB;

async function restores(here: Place): Promise<void> {
  for (const { id } of (await here.json(0, 'ls', 'disk')).slice(0, -1)) {
    await here.ok('restore', `disk@${String(id).slice(0, 12)}`, 'back.img', '--verify');
  }
  await here.ok('check', '--read-data');
}

/** Files of the repository outside log and superblock, by folder. */
async function leftOver(here: Place): Promise<string[]> {
  const found: string[] = [];
  for (const folder of ['sessions', 'pins', 'tmp']) {
    const names = await readdir(here.path(`repo/${folder}`)).catch(() => []);
    found.push(...names.map((name) => `${folder}/${name}`));
  }
  return found;
}

test('garbage collection killed at random moments', {
  timeout: 1_200_000,
}, async (t: TestContext) => {
  await using here = await place();
  const draws = new Draws(1, 7);
  await here.ok('init');
  await writeImage(here.path('disk.img'), 8 * MIB, { 0: noise(CONTENT, 1) });
  for (let version = 0; version < 3; version++) {
    await overwrite(here.path('disk.img'), draws.below(CONTENT), noise(MIB, version + 2));
    await here.ok('backup', 'disk.img');
  }
  await here.ok('forget', 'disk', '--keep-last', '1');
  let kills = 0;
  for (let kill = 0; kill < KILLS; kill++) {
    await using running = here.start('gc', '--json');
    // Its first line comes when it has begun to look.
    await Promise.race([running.line(/message_type/), running.finished()]);
    await delay(draws.unit() * 60);
    running.kill('SIGKILL');
    const { signal } = await running.finished();
    if (signal === 'SIGKILL') kills++;
    await here.ok('check', '--read-data');
  }
  const lines = await here.json(0, 'gc');
  assert.equal(lines.at(-1)!.condemnedPacks, 0);
  await restores(here);
  assert.deepEqual(await leftOver(here), []);
  const again = (await here.json(0, 'gc')).at(-1)!;
  assert.deepEqual([again.freedBytes, again.droppedPacks, again.orphans], [0, 0, 0]);
  t.diagnostic(`${kills} of ${KILLS} were killed before their end`);
  assert(kills > 0);
});
