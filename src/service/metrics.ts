/** What Prometheus is told of a provider; read from counts and status at each scrape. */
import { sum, type VolumeCounts } from './counts.ts';
import type { ForwardStatus } from './forwarder.ts';
import { type Observed, sessionsOf, type TenantVolume, volumesOf } from './status.ts';

export type Metrics = {
  readonly contentType: string;
  text(): Promise<string>;
};

type Kind = 'gauge' | 'counter';

/** Names end in their unit; a counter in `_total`. */
const DEFINED = {
  lag_seconds: ['gauge', 'age that the present epoch may have; 0: nothing is on its way'],
  backlog_bytes: ['gauge', 'of the epoch on its way, what is not here yet'],
  journal_bytes: ['gauge', 'journals of the replica'],
  volume_bytes: ['gauge', 'size of the volume'],
  epoch: ['gauge', 'the present epoch'],
  connected: ['gauge', '1 while the agent has a session'],
  promoted: ['gauge', '1 while this side writes the volume, and its agent no more'],
  epochs_total: ['counter', 'epochs that were committed'],
  snapshots_total: ['counter', 'snapshots that were made'],
  logical_bytes_total: ['counter', 'plain bytes of committed epochs, by how they came'],
  frame_bytes_total: ['counter', 'compressed bytes in which data and patches came'],
  dedup_ratio: ['gauge', 'plain bytes of committed epochs, over those that had to be sent'],
  compression_ratio: ['gauge', 'plain bytes that had to be sent, over their frames'],
  sessions: ['gauge', 'sessions, by their state'],
  lane_info: ['gauge', 'by which lane a session is answered, and why'],
  received_bytes_total: ['counter', 'bodies of messages that came, by kind of lane'],
  resent_bytes_total: ['counter', 'bodies that the provider sent once more'],
  agent_backlog_bytes: ['gauge', 'what an agent says that waits at its side'],
  round_trip_seconds: ['gauge', 'smoothed round trip of a session'],
  half_open_connections: ['gauge', 'connections that have not said who they are'],
  crowded_out_total: ['counter', 'half-open connections that were ended to make room'],
  stray_packets_total: ['counter', 'datagrams that belong to no lane'],
  refused_total: ['counter', 'peers that were not let in, by reason'],
  errors_total: ['counter', 'failures after that, by code'],
  paired_total: ['counter', 'agents that were paired with'],
  forward_waiting: ['gauge', 'volumes with epochs that another provider does not have yet'],
  forward_refused: ['gauge', 'volumes that another provider does not take'],
  forward_connected: ['gauge', '1 while there is a session with another provider'],
  failing_volumes: ['gauge', 'volumes whose last attempt failed'],
} as const satisfies Readonly<Record<string, readonly [Kind, string]>>;

type Name = keyof typeof DEFINED;
type Sample = {
  readonly name: Name;
  readonly value: number;
  readonly labels: Readonly<Record<string, string>>;
};

const KINDS = {
  data: 'dataBytes',
  patched: 'patchedBytes',
  known: 'knownBytes',
  zero: 'zeroBytes',
} as const;

/** With those of the process itself: memory, processor, event loop. */
export async function metricsOf(observed: Observed): Promise<Metrics> {
  const { Counter, Gauge, Registry, collectDefaultMetrics } = await import('prom-client');
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  return {
    contentType: registry.contentType,
    async text() {
      const samples = await samplesOf(observed);
      // Made anew for each scrape: volumes and sessions come and go.
      const scrape = new Registry();
      for (const [name, [kind, help]] of Object.entries(DEFINED)) {
        const own = samples.filter((sample) => sample.name === name);
        if (own.length === 0) continue;
        const labelNames = Object.keys(own[0]?.labels ?? {});
        const options = { name: `ferry_${name}`, help, labelNames, registers: [scrape] };
        const metric = kind === 'counter' ? new Counter(options) : new Gauge(options);
        for (const { labels, value } of own) metric.inc(labels, value);
      }
      return `${await registry.metrics()}\n${await scrape.metrics()}`;
    },
  };
}

async function samplesOf(observed: Observed): Promise<Sample[]> {
  const volumes = await volumesOf(observed.server);
  return [
    ...volumes.flatMap(volumeSamples),
    ...countSamples(observed),
    ...sessionSamples(observed),
    ...serverSamples(observed),
    ...observed.forwarders.flatMap(({ status }) => forwardSamples(status)),
  ];
}

function volumeSamples({ tenant, volume, agent, ...status }: TenantVolume): Sample[] {
  const labels = { tenant, volume, agent };
  const { lagMs, backlogBytes, journalBytes, sizeBytes, epoch, isConnected } = status;
  const samples: Sample[] = [
    { name: 'backlog_bytes', value: backlogBytes, labels },
    { name: 'journal_bytes', value: journalBytes, labels },
    { name: 'volume_bytes', value: sizeBytes, labels },
    { name: 'epoch', value: epoch, labels },
    { name: 'connected', value: isConnected ? 1 : 0, labels },
  ];
  const { isPromoted } = status;
  if (isPromoted !== undefined)
    samples.push({ name: 'promoted', value: isPromoted ? 1 : 0, labels });
  if (lagMs !== undefined) samples.push({ name: 'lag_seconds', value: lagMs / 1000, labels });
  return samples;
}

function countSamples({ counts }: Observed): Sample[] {
  const samples: Sample[] = [];
  for (const [tenant, volumes] of counts.volumes) {
    for (const [volume, count] of volumes) {
      const labels = { tenant, volume };
      samples.push(
        { name: 'epochs_total', value: count.epochs, labels },
        { name: 'snapshots_total', value: count.snapshots, labels },
        { name: 'frame_bytes_total', value: count.frameBytes, labels },
        ...Object.entries(KINDS).map(([kind, key]) => ({
          ...({ name: 'logical_bytes_total', value: count[key] } as const),
          labels: { ...labels, kind },
        })),
        ...ratiosOf(count).map((ratio) => ({ ...ratio, labels })),
      );
    }
  }
  return samples;
}

/** What was sent of what changed, zeroes left out on both sides. */
function ratiosOf({ dataBytes, patchedBytes, knownBytes, frameBytes }: VolumeCounts) {
  const sentBytes = dataBytes + patchedBytes;
  const ratios: { name: Name; value: number }[] = [];
  if (sentBytes > 0) {
    ratios.push({ name: 'dedup_ratio', value: (sentBytes + knownBytes) / sentBytes });
  }
  if (frameBytes > 0) ratios.push({ name: 'compression_ratio', value: sentBytes / frameBytes });
  return ratios;
}

function sessionSamples({ server, counts }: Observed): Sample[] {
  const samples: Sample[] = [];
  const states = new Map<string, number>();
  const carried = new Map(counts.carried);
  for (const [at, session] of sessionsOf(server).entries()) {
    const labels = { agent: session.agent, session: String(at) };
    const { lane, laneReason: reason, fingerprint } = session;
    carried.set(fingerprint, sum(carried.get(fingerprint), session));
    states.set(session.state, (states.get(session.state) ?? 0) + 1);
    samples.push(
      { name: 'lane_info', value: 1, labels: { ...labels, lane, reason } },
      { name: 'agent_backlog_bytes', value: session.peerBacklogBytes, labels },
      { name: 'round_trip_seconds', value: session.roundTripMs / 1000, labels },
    );
  }
  for (const [fingerprint, { receivedBytes, resentBytes: value }] of carried) {
    const labels = { agent: fingerprint.slice(0, 16) };
    samples.push({ name: 'resent_bytes_total', value, labels });
    for (const [lane, bytes] of Object.entries(receivedBytes)) {
      samples.push({ name: 'received_bytes_total', value: bytes, labels: { ...labels, lane } });
    }
  }
  for (const [state, value] of states) samples.push({ name: 'sessions', value, labels: { state } });
  return samples;
}

function forwardSamples({ to, isConnected, waiting, refused }: ForwardStatus): Sample[] {
  const labels = { to };
  return [
    { name: 'forward_connected', value: isConnected ? 1 : 0, labels },
    { name: 'forward_waiting', value: waiting, labels },
    { name: 'forward_refused', value: Object.keys(refused).length, labels },
  ];
}

function serverSamples({ server: { host }, counts }: Observed): Sample[] {
  const labels = {};
  const byCode = (name: Name, codes: ReadonlyMap<string, number>): Sample[] =>
    [...codes].map(([code, value]) => ({ name, value, labels: { code } }));
  return [
    { name: 'half_open_connections', value: host.halfOpenCount, labels },
    { name: 'crowded_out_total', value: host.crowdedOutCount, labels },
    { name: 'stray_packets_total', value: host.strayPackets, labels },
    { name: 'paired_total', value: counts.paired, labels },
    { name: 'failing_volumes', value: counts.failing.size, labels },
    ...byCode('refused_total', counts.refused),
    ...byCode('errors_total', counts.errors),
  ];
}
