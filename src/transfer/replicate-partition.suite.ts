/** Cuts an agent off from its provider, and promotes the volume there by force meanwhile. */
import {
  type AuthorityOptions,
  type AuthorityOutcome,
  type AuthorityRun,
  simulateScript,
} from './replicate-authority-run.suite.ts';
import { pause } from './replicate-model.suite.ts';

const ROUNDS = 4;
/** Longer than a provider takes to start, so that it is promoted while a lease still holds. */
export const PARTITION_LEASE_MS = 8_000;
/** Much longer: sessions give up their connections. */
const LONG_MS = 45_000;

/** Throws what was found. */
export function simulatePartition(
  seed: number,
  options: AuthorityOptions = {},
): Promise<AuthorityOutcome> {
  return simulateScript(
    seed,
    async (run) => {
      for (let count = 0; count < ROUNDS; count += 1) await round(run);
    },
    { crashChance: 1 / 1_000, ...options },
  );
}

async function round(run: AuthorityRun): Promise<void> {
  const { draws } = run;
  const { net } = run.world;
  await run.together();
  await writeBoth(run, draws.below(500));
  net.link.cut();
  if (draws.chance(0.6)) run.restartProvider();
  if (draws.chance(0.2)) run.restartAgent();
  await apart(run);
  net.link.mend();
  await writeBoth(run, draws.below(600));
  if (draws.chance(0.2)) return;
  const over = new AbortController();
  await run.reverse(draws.chance(0.6) ? cutWhenOffered(run, over.signal) : undefined);
  over.abort();
  if (net.link.isCut) await apart(run);
  net.link.mend();
}

/** Both go on writing, and the provider begins to. */
async function apart(run: AuthorityRun): Promise<void> {
  const { draws } = run;
  const { env } = run.world;
  await run.begun();
  run.promote(true);
  await writeBoth(run, PARTITION_LEASE_MS * (0.5 + 1.5 * draws.unit()));
  if (draws.chance(0.1)) await pause(env, LONG_MS);
}

/** Somewhere between what the provider offers and what its agent says of it. */
async function cutWhenOffered(run: AuthorityRun, over: AbortSignal): Promise<void> {
  const { env, net } = run.world;
  while (!over.aborted && !(await run.isOffered())) await pause(env, 1);
  await pause(env, run.draws.below(5));
  if (over.aborted) return;
  net.link.cut();
  await pause(env, run.draws.below(60));
}

async function writeBoth(run: AuthorityRun, forMs: number): Promise<void> {
  const { env } = run.world;
  for (const endMs = run.world.nowMs + forMs; run.world.nowMs < endMs; ) {
    run.writeAtAgent();
    await run.writeAtProvider();
    await pause(env, 50 + run.draws.below(400));
  }
}
