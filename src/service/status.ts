/** Status: what a provider does at this moment, for its API, its metrics and `ferry status`. */
import type { Env } from '../core/index.ts';
import type { VolumeStatus } from '../transfer/replicate/index.ts';
import type { LaneSet, Session, Traffic } from '../wire/index.ts';
import type { Counts } from './counts.ts';
import type { Forwarder, ForwardStatus } from './forwarder.ts';
import type { ReplicaServer } from './replica-server.ts';

export type SessionStatus = Traffic & {
  readonly agent: string;
  /** Of its certificate; two agents may have one name. */
  readonly fingerprint: string;
  readonly tenant: string;
  readonly state: 'open' | 'broken' | 'closed';
  /** By which the provider answers, and why. */
  readonly lane: LaneSet;
  readonly laneReason: string;
  readonly roundTripMs: number;
};

export type TenantVolume = VolumeStatus & { readonly tenant: string; readonly agent: string };

export type Problem = { readonly volume: string; readonly code: string };

export type Health = {
  readonly status: 'ok' | 'degraded' | 'stopping';
  readonly problems: readonly Problem[];
};

export type Status = Health & {
  readonly version: string;
  readonly uri: string;
  readonly upMs: number;
  readonly tenants: readonly { readonly name: string; readonly repository: string }[];
  readonly sessions: readonly SessionStatus[];
  readonly volumes: readonly TenantVolume[];
  /** Other providers to which all of this is sent on. */
  readonly forwards: readonly ForwardStatus[];
  readonly halfOpen: number;
  readonly refused: Readonly<Record<string, number>>;
  readonly errors: Readonly<Record<string, number>>;
};

export type Observed = {
  readonly env: Pick<Env, 'clock'>;
  readonly server: ReplicaServer;
  readonly counts: Counts;
  readonly version: string;
  readonly uri: string;
  /** On the monotonic clock. */
  readonly sinceMs: number;
  readonly forwarders: readonly Forwarder[];
};

export function healthOf({ server, counts }: Observed): Health {
  const problems = [...counts.failing].map(([volume, code]) => ({ volume, code }));
  const isWell = problems.length === 0 ? 'ok' : 'degraded';
  return { status: server.isStopping ? 'stopping' : isWell, problems };
}

export async function statusOf(observed: Observed): Promise<Status> {
  const { env, server, counts, version, uri, sinceMs } = observed;
  return {
    ...healthOf(observed),
    ...{ version, uri, upMs: Math.round(env.clock.monotonicMs() - sinceMs) },
    tenants: server.tenants.map(({ name, provider }) => ({
      ...{ name, repository: provider.repository.objects.name },
    })),
    sessions: sessionsOf(server),
    volumes: await volumesOf(server),
    forwards: observed.forwarders.map(({ status }) => status),
    halfOpen: server.host.halfOpenCount,
    refused: Object.fromEntries(counts.refused),
    errors: Object.fromEntries(counts.errors),
  };
}

export async function volumesOf({ tenants, agents }: ReplicaServer): Promise<TenantVolume[]> {
  const volumes: TenantVolume[] = [];
  for (const { name: tenant, provider } of tenants) {
    for (const volume of await provider.list()) {
      const agent = agents.get(volume.owner)?.name ?? volume.owner.slice(0, 16);
      volumes.push({ ...volume, tenant, agent });
    }
  }
  return volumes;
}

export function sessionsOf(server: ReplicaServer): SessionStatus[] {
  return server.host.sessions.map((session) => sessionOf(server, session));
}

function sessionOf({ host, agents }: ReplicaServer, session: Session): SessionStatus {
  const peer = agents.get(session.identity);
  const choice = host.choiceOf(session);
  return {
    agent: peer?.name ?? session.identity.slice(0, 16),
    fingerprint: session.identity,
    tenant: peer?.grant?.tenant ?? '',
    state: session.state,
    lane: choice?.lanes ?? 'control',
    laneReason: choice?.reason ?? '',
    roundTripMs: session.roundTrip.milliseconds,
    ...session.traffic,
  };
}
