/**
 * `npm run torture -- nbd [KILLS] [POWER-CUTS]`: kills NBD servers and cuts their power under load,
 * with flushes and with forced writes in turn, and counts what was lost of what had been promised.
 * The numbers are totals: a run goes on where an interrupted one of the same code has stopped.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  killRound,
  powerCutRound,
  type Round,
  type Verdict,
  whyNoPowerCuts,
} from '../nbd/crash.suite.ts';
import type { Forcing } from '../nbd/numbered-load.ts';
import { type Fault, Total } from './total.ts';

const [name, kills = '300', cuts = '20'] = process.argv.slice(2);
if (name !== 'nbd' || !/^\d+$/.test(kills) || !/^\d+$/.test(cuts)) {
  process.stderr.write('Usage: npm run torture -- nbd [KILLS] [POWER-CUTS]\n');
  process.exit(2);
}
const folder = mkdtempSync(join(tmpdir(), 'ferry-torture-'));
process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
const total = new Total();
process.stdout.write(`code ${total.code}, totals in ${total.path}\n`);

/** From the first write on: early ends meet empty queues, late ones full ones. */
const LOAD_MS_MAX = 400;
const forcings: readonly Forcing[] = ['flush', 'fua'];

/** Answers how many sectors are lost in all rounds so far. */
async function rounds(
  fault: Fault,
  count: number,
  run: (round: Round) => Promise<Verdict>,
): Promise<number> {
  const done = () => forcings.reduce((sum, each) => sum + total.sum(fault, each).rounds, 0);
  const before = done();
  for (let turn = before; turn < count; turn += 1) {
    const forcing = forcings[turn % 2]!;
    const verdict = await run({ folder, forcing, loadMs: 5 + Math.random() * LOAD_MS_MAX });
    total.add(fault, forcing, verdict);
    const { missing } = verdict;
    if (missing > 0) process.stderr.write(`${fault} ${turn}: ${missing} sectors are lost\n`);
  }
  process.stdout.write(`${fault}: ${done()} rounds, ${done() - before} of them in this run\n`);
  return forcings.reduce((sum, forcing) => {
    const { rounds: count, promised, missing } = total.sum(fault, forcing);
    const promises = `${promised} blocks promised, ${missing} sectors lost`;
    process.stdout.write(`  with ${forcing}: ${count} rounds, ${promises}\n`);
    return sum + missing;
  }, 0);
}

let missing = await rounds('kill -9', Number(kills), killRound);
const noPowerCuts = whyNoPowerCuts();
if (noPowerCuts === undefined) missing += await rounds('power cut', Number(cuts), powerCutRound);
else process.stderr.write(`NO POWER CUTS WERE TRIED: ${noPowerCuts}\n`);
process.exitCode = missing === 0 ? 0 : 1;
