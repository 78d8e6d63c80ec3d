/** What the fuzzer runs: one trial per seed; a trial that fails throws. */

export type FuzzTarget = {
  readonly summary: string;
  /** Made once per run, for example the recordings that are mutated. */
  prepare(): Promise<(seed: number) => Promise<void>>;
};

/** The first trials of a target, for `npm test`; a failure says how to run that one again. */
export async function firstTrials(name: string, target: FuzzTarget, count: number): Promise<void> {
  const trial = await target.prepare();
  for (let seed = 1; seed <= count; seed += 1) {
    try {
      await trial(seed);
    } catch (error) {
      throw new Error(`failed: replay with npm run fuzz -- ${name} 0 ${seed}`, { cause: error });
    }
  }
}
