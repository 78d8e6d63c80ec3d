/** Policy: what an agent may do at a provider, as whoever runs the provider has said. */
import { ReplicateError } from '../errors.ts';

export type Right = 'read' | 'write';

export type Quota = {
  /** Volumes of one agent. */
  readonly volumesMax: number;
  /** Bytes of all its volumes together, as they are seen. */
  readonly logicalBytesMax: number;
  /** What its snapshots added to the repository, and its journals. */
  readonly storedBytesMax: number;
};

/** Asked each time: it may change while a session is open. */
export interface Policy {
  /** `write`: to bring epochs of the volume; `read`: to learn what is in it. */
  may(agent: string, right: Right, volume: string): boolean;
  quotaOf(agent: string): Quota;
  /** Settles when so many bytes more may be taken from the agent, or `signal` is aborted. */
  admit(agent: string, bytes: number, signal: AbortSignal): Promise<void>;
}

/** Everybody may do everything. */
export const noPolicy: Policy = {
  may: () => true,
  quotaOf: () => ({ volumesMax: Infinity, logicalBytesMax: Infinity, storedBytesMax: Infinity }),
  admit: async () => undefined,
};

/** REPLICATE_DENIED. */
export function checkMay(policy: Policy, agent: string, right: Right, volume: string): void {
  if (policy.may(agent, right, volume)) return;
  const what = right === 'write' ? 'send epochs of' : 'look into';
  throw new ReplicateError('REPLICATE_DENIED', `this agent may not ${what} ${volume}`, {
    hint: 'Ask whoever runs the provider (`ferry peers AGENT --volumes ... --rights ...` there).',
  });
}
