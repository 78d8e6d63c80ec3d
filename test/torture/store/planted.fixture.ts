/** For planted.long.ts: loads the product with one planted defect, runs trials until one fails. */
import { writeSync } from 'node:fs';
import { registerHooks } from 'node:module';
import { fileURLToPath } from 'node:url';
import { plantedDefects } from './planted.ts';
import type { Trial } from './trials.suite.ts';

const SEEDS_MAX = 150;

const root = fileURLToPath(new URL('../../../', import.meta.url));
const planted = plantedDefects.find(({ name }) => name === process.argv[2])!;
const open = new Set(planted.edits);

registerHooks({
  load(url, context, nextLoad) {
    const loaded = nextLoad(url, context);
    let source = String(loaded.source);
    for (const edit of planted.edits) {
      if (url !== new URL(edit.file, `file://${root}`).href) continue;
      const places = source.split(edit.find).length - 1;
      if (places !== 1) throw new Error(`${edit.file} has ${places} times: ${edit.find}`);
      source = source.replace(edit.find, () => edit.put);
      open.delete(edit);
    }
    return { ...loaded, source };
  },
});

const { trials } = await import('./trials.suite.ts');
if (open.size > 0) throw new Error(`not loaded: ${[...open].map(({ file }) => file).join()}`);
const trial: Trial = trials[planted.by];
const first = planted.seed ?? 0;
for (let seed = first; seed < first + SEEDS_MAX; seed++) {
  // At once: the defect may be one that takes the process along.
  writeSync(1, `seed ${seed}\n`);
  try {
    await trial.run(seed);
  } catch (error) {
    let cause: unknown = error;
    while (cause instanceof Error && cause.cause !== undefined) cause = cause.cause;
    const [why = ''] = String(cause).split('\n');
    process.stdout.write(`found ${JSON.stringify({ seed, why })}\n`);
    process.exit();
  }
}
process.stdout.write('not found\n');
