/**
 * `npm run torture -- store`: every simulated trial of the store up to its number, in turn; a seed
 * after it runs each one with that seed alone, or only the one that is named behind it.
 */
import { inspect } from 'node:util';
import { trialNames, trials } from './store/trials.suite.ts';
import { Total } from './total.ts';

/** More failures than this are the same ones again. */
const FAILURES_MAX = 20;

/** One trial with one seed; true if nothing is wrong. */
export async function tryStore(seed: number, only: string | undefined): Promise<boolean> {
  let right = true;
  for (const name of trialNames) {
    if (only !== undefined && only !== name) continue;
    try {
      const states = await trials[name].run(seed);
      process.stdout.write(`${name}, seed ${seed}: ${states} states, all right\n`);
    } catch (error) {
      right = false;
      process.stderr.write(`${inspect(error)}\n`);
    }
  }
  return right;
}

/** True if nothing was found, in this run and in those of the same code before it. */
export async function tortureStore(): Promise<boolean> {
  const total = new Total('store', ['test/torture/store.ts']);
  process.stdout.write(`code ${total.code}, totals in ${total.path}\n`);
  let failed = 0;
  // In turn, so that a run that is cut short has tried something of everything.
  for (let busy = true; busy && failed < FAILURES_MAX; ) {
    busy = false;
    for (const name of trialNames) {
      if (total.get(name, 'states') >= trials[name].states) continue;
      busy = true;
      const seed = total.get(name, 'rounds');
      failed += await total.count(name, async () => ({ states: await trials[name].run(seed) }));
    }
  }
  return tell(total);
}

function tell(total: Total): boolean {
  let failures = 0;
  for (const name of trialNames) {
    const of = (count: string) => total.get(name, count);
    failures += of('failures');
    const counts = `${of('rounds')} rounds, ${of('states')} states judged`;
    process.stdout.write(`${name}: ${counts}, ${of('failures')} failures\n`);
  }
  return failures === 0;
}
