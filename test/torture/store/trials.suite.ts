/** The simulated trials of the store: each judges one or more states for a seed, or throws. */
import { damageTrial } from './damage.suite.ts';
import { faultTrial } from './faults.suite.ts';
import { mutualTrial } from './mutual.suite.ts';
import { suspendedTrial } from './suspended.suite.ts';
import { tornTrial } from './torn.suite.ts';

export type Trial = {
  /** Answers how many states were judged. */
  readonly run: (seed: number) => Promise<number>;
  /** States that a full run judges. */
  readonly states: number;
};

export const trials = {
  torn: { run: tornTrial, states: 1000 },
  faults: { run: faultTrial, states: 1000 },
  damage: { run: damageTrial, states: 3000 },
  mutual: { run: mutualTrial, states: 500 },
  suspended: { run: suspendedTrial, states: 300 },
} as const satisfies Record<string, Trial>;

export type TrialName = keyof typeof trials;

export const trialNames = Object.keys(trials) as TrialName[];
