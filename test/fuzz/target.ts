/** What the fuzzer runs: one trial per seed; a trial that fails throws. */

export type FuzzTarget = {
  readonly summary: string;
  /** Made once per run, for example the recordings that are mutated. */
  prepare(): Promise<(seed: number) => Promise<void>>;
};
