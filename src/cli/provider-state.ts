/** How an export stands with its providers: for programs, and from that for people. */
import { FerryError, messageOf } from '../core/index.ts';
import type { ReplicationState } from '../transfer/replicate/index.ts';
import { formatTime } from './repository.ts';
import { formatDuration, formatSize } from './sizes.ts';

/** As JSON has it: told by the export itself, and by `ferry status` of it. */
export type ProviderState = {
  readonly provider: string;
  readonly isConnected: boolean;
  /** Since when, in ISO 8601. */
  readonly since: string;
  /** Absent while nobody can say. */
  readonly lagSeconds?: number;
  readonly backlogBytes: number;
  readonly epoch?: number | undefined;
  /** What is in the way, and its code. */
  readonly trouble?: string;
  readonly code?: string;
};

export function providerState(
  provider: string,
  { lagMs, sinceWallMs, trouble, ...fields }: ReplicationState,
): ProviderState {
  return {
    ...{ provider, ...fields, since: new Date(sinceWallMs).toISOString() },
    ...secondsOf(lagMs),
    ...(trouble !== undefined && { trouble: messageOf(trouble) }),
    ...(trouble instanceof FerryError && { code: trouble.code }),
  };
}

export function secondsOf(lagMs: number | undefined): { readonly lagSeconds?: number } {
  return lagMs === undefined ? {} : { lagSeconds: Math.round(lagMs / 10) / 100 };
}

export function providerText(state: ProviderState): string {
  const { provider, isConnected, since, trouble } = state;
  const why = trouble === undefined ? '' : `: ${trouble}`;
  const failing = trouble === undefined ? '' : `; failing${why}`;
  const link = isConnected ? failing : `; NOT CONNECTED since ${formatTime(since)}${why}`;
  return `${provider}: ${behind(state)}${link}`;
}

function behind({ lagSeconds, backlogBytes, epoch: known }: ProviderState): string {
  const left = formatSize(backlogBytes);
  const epoch = known ?? '?';
  if (lagSeconds === undefined) return `nothing heard yet, ${left} or more to go`;
  if (backlogBytes === 0) return `epoch ${epoch}, has everything`;
  return `epoch ${epoch}, ${formatDuration(lagSeconds * 1000)} behind, ${left} to go`;
}
