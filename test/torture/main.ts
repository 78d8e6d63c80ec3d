/**
 * `npm run torture -- nbd [KILLS] [POWER-CUTS]`: kills NBD servers and cuts their power under load,
 * with flushes and with forced writes in turn, and counts what was lost of what had been promised.
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

const [name, kills = '300', cuts = '20'] = process.argv.slice(2);
if (name !== 'nbd' || !/^\d+$/.test(kills) || !/^\d+$/.test(cuts)) {
  process.stderr.write('Usage: npm run torture -- nbd [KILLS] [POWER-CUTS]\n');
  process.exit(2);
}
const folder = mkdtempSync(join(tmpdir(), 'ferry-torture-'));
process.once('exit', () => rmSync(folder, { recursive: true, force: true }));

/** From the first write on: early ends meet empty queues, late ones full ones. */
const LOAD_MS_MAX = 400;

async function rounds(
  what: string,
  count: number,
  run: (round: Round) => Promise<Verdict>,
): Promise<number> {
  const sums = { promised: 0, missing: 0 };
  for (let turn = 0; turn < count; turn += 1) {
    const forcing = turn % 2 === 0 ? 'flush' : 'fua';
    const loadMs = 5 + Math.random() * LOAD_MS_MAX;
    const { promised, missing } = await run({ folder, forcing, loadMs });
    sums.promised += promised;
    sums.missing += missing;
    if (missing > 0) process.stderr.write(`${what} ${turn}: ${missing} sectors are lost\n`);
  }
  process.stdout.write(
    `${what}: ${count} rounds, ${sums.promised} blocks promised, ${sums.missing} sectors lost\n`,
  );
  return sums.missing;
}

let missing = await rounds('kill -9', Number(kills), killRound);
const noPowerCuts = whyNoPowerCuts();
if (noPowerCuts === undefined) missing += await rounds('power cut', Number(cuts), powerCutRound);
else process.stderr.write(`NO POWER CUTS WERE TRIED: ${noPowerCuts}\n`);
process.exitCode = missing === 0 ? 0 : 1;
