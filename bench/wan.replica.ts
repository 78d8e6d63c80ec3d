/** Replication through the link of `npm run bench -- wan`: what reaches the provider's journal. */
import { request } from 'node:http';
import { join } from 'node:path';
import { json } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import type { Status } from '../src/service/index.ts';
import type { LaneMode } from '../src/wire/index.ts';
import { ReplicationPlace } from '../test/interop/replication-place.ts';
import { processorSeconds } from './processes.ts';
import { Link } from './wan.world.ts';

const LOOK_MS = 100;
const FIRST_BYTE_WITHIN_MS = 20_000;

export type ReplicaOptions = {
  readonly link: Link | undefined;
  readonly port: number;
  readonly lane: LaneMode;
  /** Data that is new to the provider. */
  readonly image: string;
  readonly folder: string;
  /** From the first byte on, not counted. */
  readonly warmUpSeconds: number;
  /** What comes then is counted for so long, or until all is there. */
  readonly seconds: number;
};

export type ReplicaResult = {
  readonly megabits: number;
  /** Processors taken at each side. */
  readonly agent: number;
  readonly provider: number;
  /** By which the agent sent at the end, and why. */
  readonly lanes: string;
};

/** The provider at the second end of the link, the agent at the first. */
export function placeOn(link: Link | undefined, folder: string): ReplicationPlace {
  return new ReplicationPlace(folder, {
    agent: (words) => link?.at(0, words) ?? words,
    provider: (words) => link?.at(1, words) ?? words,
  });
}

/** `ferry replicate --once` to a provider that has nothing yet. */
export async function replicated(options: ReplicaOptions): Promise<ReplicaResult> {
  const { link, port, lane, image, folder, warmUpSeconds, seconds } = options;
  const place = placeOn(link, folder);
  await place.begin(undefined, `${link === undefined ? '127.0.0.1' : Link.host(1)}:${port}`);
  await using provider = place.provider!;
  const words = ['--once', '--name', 'disk', '--to', place.uri, '--lane', lane, '--json'];
  await using agent = place.start('replicate', image, ...words);
  const look = async () => ({
    ...{ atMs: performance.now(), ...(await arrived(folder)) },
    ...{ agent: processorSeconds(agent.pid), provider: processorSeconds(provider.pid) },
  });
  const first = await until(look, FIRST_BYTE_WITHIN_MS, ({ bytes }) => bytes > 0);
  if (first.bytes === 0) throw new Error(`nothing has come: ${agent.stderr}${provider.stderr}`);
  await delay(warmUpSeconds * 1000);
  const start = warmUpSeconds === 0 ? first : await look();
  const end = await until(look, seconds * 1000, ({ isWhole }) => isWhole);
  const passed = (end.atMs - start.atMs) / 1000;
  return {
    megabits: (8 * (end.bytes - start.bytes)) / 1e6 / passed,
    agent: (end.agent - start.agent) / passed,
    provider: (end.provider - start.provider) / passed,
    lanes: end.lanes,
  };
}

export async function until<T>(look: () => Promise<T>, forMs: number, isIt: (seen: T) => boolean) {
  const endMs = performance.now() + forMs;
  for (;;) {
    const seen = await look();
    if (isIt(seen) || performance.now() >= endMs) return seen;
    await delay(LOOK_MS);
  }
}

/** As the provider itself says it. */
export async function arrived(folder: string) {
  const socketPath = join(folder, 'provider/sockets/serve.sock');
  const { promise, resolve, reject } = Promise.withResolvers<Status>();
  const asking = request({ socketPath, path: '/v1/status' }, (answer) => {
    json(answer).then((status) => resolve(status as Status), reject);
  });
  asking.on('error', reject).end();
  const { volumes, sessions } = await promise;
  const { journalBytes = 0, epoch = 0 } = volumes[0] ?? {};
  return { bytes: journalBytes, isWhole: epoch > 0, lanes: sessions[0]?.peerLanes ?? '' };
}
