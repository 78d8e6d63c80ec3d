/**
 * `npm run torture -- store`: every trial of the store up to its number, in turn; a seed after it
 * runs each simulated trial with that seed alone, or only the one that is named behind it.
 */
import { join } from 'node:path';
import { inspect } from 'node:util';
import { KillRounds } from './store/kill.suite.ts';
import { trialNames, trials } from './store/trials.suite.ts';
import { Total } from './total.ts';

const KILLS = 1000;
/** More failures than this are the same ones again. */
const FAILURES_MAX = 20;
const sources = ['src/core', 'src/codec', 'src/objects', 'src/store', 'src/transfer', 'sim'];

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
export async function tortureStore(folder: string): Promise<boolean> {
  const run = new StoreTorture(folder);
  await run.all();
  return run.tell();
}

class StoreTorture {
  readonly #total = new Total('store', [...sources, 'test/torture/store']);
  readonly #kills: KillRounds;
  #failures = 0;

  constructor(folder: string) {
    const seed = this.#total.get('kill -9', 'rounds');
    this.#kills = new KillRounds(join(folder, 'kills'), seed);
    process.stdout.write(`code ${this.#total.code}, totals in ${this.#total.path}\n`);
  }

  /** In turn, so that a run that is cut short has tried something of everything. */
  async all(): Promise<void> {
    for (let busy = true; busy && this.#failures < FAILURES_MAX; ) {
      busy = false;
      for (const name of trialNames) {
        if (this.#total.get(name, 'states') >= trials[name].states) continue;
        busy = true;
        const seed = this.#total.get(name, 'rounds');
        await this.#count(name, async () => ({ states: await trials[name].run(seed) }));
      }
      if (this.#total.get('kill -9', 'killed') >= KILLS) continue;
      busy = true;
      for (let at = 0; at < KILLS_IN_TURN; at++) {
        await this.#count('kill -9', async () => ({ [await this.#kills.next()]: 1 }));
      }
    }
  }

  async #count(kind: string, run: () => Promise<Record<string, number>>): Promise<void> {
    try {
      this.#total.add(kind, { failures: 0, ...(await run()) });
    } catch (error) {
      this.#failures++;
      process.stderr.write(`${inspect(error)}\n`);
      this.#total.add(kind, { failures: 1 });
    }
  }

  tell(): boolean {
    let failures = 0;
    for (const name of trialNames) {
      const of = (count: string) => this.#total.get(name, count);
      failures += of('failures');
      const counts = `${of('rounds')} rounds, ${of('states')} states judged`;
      process.stdout.write(`${name}: ${counts}, ${of('failures')} failures\n`);
    }
    const of = (count: string) => this.#total.get('kill -9', count);
    failures += of('failures');
    const counts = `${of('killed')} killed, ${of('stopped')} stopped, ${of('too late')} too late`;
    process.stdout.write(`kill -9: ${counts}, ${of('failures')} failures\n`);
    return failures === 0;
  }
}

const KILLS_IN_TURN = 4;
