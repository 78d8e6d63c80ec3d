/** Power cuts at both sites: the agent comes back first, and serves; its provider comes later. */
import {
  type AuthorityOptions,
  type AuthorityOutcome,
  type AuthorityRun,
  simulateScript,
} from './replicate-authority-run.suite.ts';
import { pause } from './replicate-model.suite.ts';

const ROUNDS = 6;

/** Throws what was found. */
export function simulateAlone(
  seed: number,
  options: AuthorityOptions = {},
): Promise<AuthorityOutcome> {
  return simulateScript(
    seed,
    async (run) => {
      for (let count = 0; count < ROUNDS; count += 1) await round(run);
    },
    { crashChance: 1 / 300, ...options },
  );
}

async function round(run: AuthorityRun): Promise<void> {
  const { draws } = run;
  const { net } = run.world;
  await run.together();
  // Some of it is only at the agent when the power goes, or a move is under way.
  for (let count = draws.below(4); count > 0; count -= 1) run.writeAtAgent();
  if (draws.chance(0.3)) run.promote(false);
  await pause(run.world.env, draws.below(80));
  run.kill('agent');
  if (draws.chance(0.4)) {
    run.promote(true);
    await writeAt(run, draws.below(400));
  }
  const isCut = draws.chance(0.5);
  if (isCut) net.link.cut();
  else run.kill('provider');
  run.restartAgent();
  await writeAt(run, draws.below(300));
  if (draws.chance(0.4)) {
    run.kill('agent');
    run.restartAgent();
    await writeAt(run, draws.below(200));
  }
  if (isCut) {
    // Nobody at the agent's site can know.
    if (draws.chance(0.3)) run.promote(true);
    await writeAt(run, draws.below(400));
    net.link.mend();
  } else run.restartProvider();
  await writeAt(run, draws.below(1_500));
  if (draws.chance(0.6)) await run.reverse();
}

async function writeAt(run: AuthorityRun, forMs: number): Promise<void> {
  const { world, draws } = run;
  for (const endMs = world.nowMs + forMs; world.nowMs < endMs; ) {
    run.writeAtAgent();
    if (draws.chance(0.5)) await run.writeAtProvider();
    await pause(world.env, 10 + draws.below(60));
  }
}
