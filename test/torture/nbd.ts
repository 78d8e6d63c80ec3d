/**
 * `npm run torture -- nbd [KILLS] [POWER-CUTS]`: kills NBD servers and cuts their power under load,
 * with flushes and with forced writes in turn, and counts what was lost of what had been promised.
 */
import {
  killRound,
  powerCutRound,
  type Round,
  type Verdict,
  whyNoPowerCuts,
} from '../nbd/crash.suite.ts';
import type { Forcing } from '../nbd/numbered-load.ts';
import { Total } from './total.ts';

/** From the first write on: early ends meet empty queues, late ones full ones. */
const LOAD_MS_MAX = 400;
const forcings: readonly Forcing[] = ['flush', 'fua'];
const modules = ['test/torture/nbd.ts', 'test/nbd/server.fixture.ts'];

type Fault = 'kill -9' | 'power cut';

/** True if nothing was lost. */
export async function tortureNbd(folder: string, kills: number, cuts: number): Promise<boolean> {
  const total = new Total('nbd', modules);
  process.stdout.write(`code ${total.code}, totals in ${total.path}\n`);
  const rounds = (fault: Fault, count: number, run: (round: Round) => Promise<Verdict>) =>
    roundsOf(total, folder, fault, count, run);
  let missing = await rounds('kill -9', kills, killRound);
  const noPowerCuts = whyNoPowerCuts();
  if (noPowerCuts === undefined) missing += await rounds('power cut', cuts, powerCutRound);
  else process.stderr.write(`NO POWER CUTS WERE TRIED: ${noPowerCuts}\n`);
  return missing === 0;
}

/** Answers how many sectors are lost in all rounds so far. */
async function roundsOf(
  total: Total,
  folder: string,
  fault: Fault,
  count: number,
  run: (round: Round) => Promise<Verdict>,
): Promise<number> {
  const kindOf = (forcing: Forcing) => `${fault}, ${forcing}`;
  const done = () => forcings.reduce((sum, each) => sum + total.get(kindOf(each), 'rounds'), 0);
  const before = done();
  for (let turn = before; turn < count; turn += 1) {
    const forcing = forcings[turn % 2]!;
    const verdict = await run({ folder, forcing, loadMs: 5 + Math.random() * LOAD_MS_MAX });
    total.add(kindOf(forcing), verdict);
    const { missing } = verdict;
    if (missing > 0) process.stderr.write(`${fault} ${turn}: ${missing} sectors are lost\n`);
  }
  process.stdout.write(`${fault}: ${done()} rounds, ${done() - before} of them in this run\n`);
  return forcings.reduce((sum, forcing) => {
    const of = (count: string) => total.get(kindOf(forcing), count);
    const promises = `${of('promised')} blocks promised, ${of('missing')} sectors lost`;
    process.stdout.write(`  with ${forcing}: ${of('rounds')} rounds, ${promises}\n`);
    return sum + of('missing');
  }, 0);
}
