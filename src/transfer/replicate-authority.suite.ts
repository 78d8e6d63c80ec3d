/** Moves a volume between agent and provider under a seed, by plan and by force, through faults. */
import { readAuthority } from './replicate/provider/replica-authority.ts';
import { REPLICA_FOLDER } from './replicate-authority-cut.suite.ts';
import {
  type AuthorityOptions,
  type AuthorityOutcome,
  type AuthorityRun,
  simulateScript,
} from './replicate-authority-run.suite.ts';
import { pause } from './replicate-model.suite.ts';

const ROUNDS = 24;
/** Enough for most moves: to send what is missing, and to make a snapshot of it. */
const MOVE_MS_MAX = 150;
/** By then an agent serves that has not heard its provider, if it may. */
const ALONE_MS = 100;

/** Throws what was found. */
export function simulateAuthority(
  seed: number,
  options: AuthorityOptions = {},
): Promise<AuthorityOutcome> {
  return simulateScript(
    seed,
    async (run) => {
      for (let count = 0; count < ROUNDS; count += 1) await round(run);
    },
    options,
  );
}

async function round(run: AuthorityRun): Promise<void> {
  const { draws } = run;
  const { env, net } = run.world;
  for (let count = draws.below(6); count > 0; count -= 1) {
    run.writeAtAgent();
    if (draws.chance(0.3)) await run.writeAtProvider();
    await pause(env, draws.below(25));
  }
  if (draws.chance(0.3)) await promote(run, draws.chance(0.35));
  if (draws.chance(0.7)) await pause(env, draws.below(120));
  if (draws.chance(0.2)) run.restartProvider();
  if (draws.chance(0.15)) run.restartAgent();
  if (draws.chance(0.3)) net.breakNext(draws.below(40_000));
  const { promotion } = await readAuthority(env, REPLICA_FOLDER);
  for (let count = draws.below(4); promotion !== undefined && count > 0; count -= 1) {
    await run.writeAtProvider();
    run.writeAtAgent();
  }
  if (!draws.chance(promotion === undefined ? 0.03 : 0.5)) return;
  await run.reverse(draws.chance(0.4) ? pause(env, draws.below(60)) : undefined);
}

async function promote(run: AuthorityRun, isForced: boolean): Promise<void> {
  const { draws } = run;
  const { env } = run.world;
  const isWatched = draws.chance(0.7);
  if (isWatched) await run.begun();
  if (isWatched && !isForced) await run.together();
  run.promote(isForced);
  if (!isWatched) return;
  for (let count = 0; count < MOVE_MS_MAX && !(await run.isPromoted()); count += 1) {
    await pause(env, 1);
    if (draws.chance(0.4)) run.writeAtAgent();
  }
  await pause(env, draws.below(4));
  // Somewhere between what it offers and what it hears of that; the provider perhaps as well.
  const isKilled = !isForced && draws.chance(0.6);
  const isAlone = isKilled && draws.chance(0.5);
  if (isAlone) run.kill('provider');
  if (isKilled) run.restartAgent();
  if (isAlone) await pause(env, ALONE_MS);
  for (let count = 1 + draws.below(12); count > 0; count -= 1) {
    await pause(env, 1);
    run.writeAtAgent();
  }
  if (isAlone) run.restartProvider();
  if (isAlone) await run.begun();
  await run.writeAtProvider();
}
