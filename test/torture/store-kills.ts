/**
 * `npm run torture -- store-kills [KILLS]`: processes that back up, copy, forget and collect
 * garbage in one repository, killed with kill -9 at random moments, or stopped while others go on.
 */
import { join } from 'node:path';
import { KillRounds, program } from './store/kill.suite.ts';
import { Total } from './total.ts';

const modules = ['test/torture/store-kills.ts', program, 'src/codec/codec-worker.ts'];
const FAILURES_MAX = 20;

/** True if nothing was lost or wrong, in this run and in those of the same code before it. */
export async function tortureStoreKills(folder: string, kills: number): Promise<boolean> {
  const total = new Total('store-kills', modules);
  process.stdout.write(`code ${total.code}, totals in ${total.path}\n`);
  const kind = 'kill -9';
  const of = (count: string) => total.get(kind, count);
  const rounds = new KillRounds(join(folder, 'kills'), of('rounds'));
  for (let failed = 0; of('killed') < kills && failed < FAILURES_MAX; ) {
    failed += await total.count(kind, async () => ({ [await rounds.next()]: 1 }));
  }
  process.stdout.write(
    `${of('killed')} killed, ${of('stopped')} stopped, ${of('too late')} too late, ` +
      `${of('failures')} failures\n`,
  );
  return of('failures') === 0;
}
