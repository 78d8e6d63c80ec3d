/** `ferry serve`: the provider. */
import { type CodecPool, codecPool } from '../../codec/index.ts';
import { type Address, messageOf, toHex, writtenAddress } from '../../core/index.ts';
import { formatUri, serve as serveNbd } from '../../nbd/index.ts';
import {
  Counts,
  connectProvider,
  FIRST_TENANT,
  Forwarder,
  jsonLog,
  knownProvider,
  type Log,
  metricsOf,
  type Observed,
  plainLog,
  ReplicaServer,
  replicaExports,
  runSchedule,
  startApi,
  type TenantOptions,
} from '../../service/index.ts';
import { isEmptyPolicy } from '../../store/index.ts';
import type { Context } from '../context.ts';
import { usageError } from '../errors.ts';
import { type Node, nodeOf } from '../node.ts';
import { providerUri } from '../provider-address.ts';
import { tenantPlace } from '../replicas.ts';
import { repositoryAt, repositoryOf, unlockSecond } from '../repository.ts';
import { policyOf } from '../retention-policy.ts';
import { serveAt } from '../serve-at.ts';
import { tellEvent } from '../serve-events.ts';
import type { Run, Values } from '../spec.ts';
import { stopped } from '../stopped.ts';
import type { serveSpec } from '../table/provider.ts';
import { serveTlsOf } from '../tls-credentials.ts';
import { ferryVersion } from '../version.ts';
import { checkedWindow } from '../window.ts';

type ServeValues = Values<typeof serveSpec>;

export const run: Run<typeof serveSpec> = async (context: Context, values) => {
  const { env, output, signal } = context;
  const { listen, lane } = values;
  if (values.snapshotEvery === undefined && !isEmptyPolicy(policyOf(values))) {
    throw usageError('--keep-... forgets after each snapshot of --snapshot-every', 'ferry serve');
  }
  env.workers.returnLargeMemory?.();
  const log = await logOf(context, values);
  const secured = await serveTlsOf(env.files, values, 'ferry serve');
  const node = await nodeOf(context, values);
  await using open = new AsyncDisposableStack();
  // Snapshots are made beside what comes in, which is not to wait for them.
  const threads = Math.ceil(env.workers.parallelism / 2);
  const pool = open.use(codecPool(env, threads, { isBackground: true }));
  const tenants = await tenantsOf(context, values, pool, open);
  const counts = new Counts();
  const sinceMs = env.clock.monotonicMs();
  let isPaired = () => {};
  const forwarders: Forwarder[] = [];
  const server = open.use(
    await ReplicaServer.start(env, {
      ...{ ...node, tenants, lane, address: listen, defaults: defaultsOf(values) },
      onEvent(event) {
        counts.add(event);
        if (event.event === 'epoch' && event.tenant === FIRST_TENANT) {
          for (const each of forwarders) each.committed(event.volume, event.changed);
        }
        tellEvent(output, log, event);
        if (event.event === 'paired') isPaired();
      },
    }),
  );
  const { address } = server;
  if (address.kind !== 'tcp') return;
  const uri = providerUri(address);
  const observed = { env, server, counts, version: ferryVersion(), uri, sinceMs, forwarders };
  forwarders.push(...(await forwardersOf(context, values, { server, node, log })));
  const places = await serveOthers(context, values, { observed, log, secured }, open);
  isPaired = () => {
    const token = server.invite();
    const line = `ferry pair ${uri} ${token}`;
    output.item('status', { state: 'invitation', uri, token }, `to pair another agent: ${line}`);
  };
  const token = server.invite();
  const lines = [
    `ready: ${uri}`,
    ...Object.entries(places).map(([name, place]) => `  ${name}: ${place}`),
    `  to pair an agent, run there: ferry pair ${uri} ${token}`,
    '  Ctrl-C stops',
  ];
  const repository = tenants[0]!.repository.objects.name;
  output.item('status', { state: 'ready', uri, token, repository, ...places }, lines.join('\n'));
  log.info({ event: 'ready', uri, repository, ...places }, `serving ${uri}`);
  const sessions = () => server.host.sessions.length;
  output.setState(() => ({
    fields: { state: 'serving', uri, sessions: sessions() },
    text: `serving ${uri}, ${sessions()} sessions`,
  }));
  await stopped(signal);
  log.info({ event: 'stopping' }, 'stopping: what is under way becomes durable first');
  await open.disposeAsync();
  output.summary({ state: 'stopped', uri }, `${uri} is served no longer`);
};

/** Lines for people where one looks on, JSON where a journal or a collector does. */
async function logOf({ output }: Context, { log, logLevel }: ServeValues): Promise<Log> {
  const isJson = log === 'json' || (log === 'auto' && process.stderr.isTTY !== true);
  const { quiet, verbose } = output.options;
  const level = verbose ? 'debug' : quiet && logLevel === 'info' ? 'warn' : logLevel;
  if (isJson) return await jsonLog(level);
  return plainLog(level, (at, text) => {
    if (at === 'error' || at === 'warn') output.warn(text);
    else if (!output.options.json) output.text(text);
  });
}

async function tenantsOf(
  context: Context,
  { tenant }: ServeValues,
  pool: CodecPool,
  open: AsyncDisposableStack,
): Promise<TenantOptions[]> {
  const first = open.use(await repositoryOf(context));
  const tenants = [await tenantPlace(context, FIRST_TENANT, first, pool)];
  for (const { name, location } of tenant) {
    const unlock = unlockSecond(context, location);
    const repository = open.use(await repositoryAt(context, location, unlock));
    tenants.push(await tenantPlace(context, name, repository, pool));
  }
  return tenants;
}

function defaultsOf({ volumes, quota, quotaStored, rate, window }: ServeValues) {
  return {
    volumesMax: volumes,
    ...(quota !== undefined && { logicalBytesMax: quota }),
    ...(quotaStored !== undefined && { storedBytesMax: quotaStored }),
    ...(rate !== undefined && { bytesPerS: rate }),
    ...(window !== undefined && { window: checkedWindow(window, 'ferry serve') }),
  };
}

type Others = {
  readonly observed: Observed & Pick<Context, 'env'>;
  readonly log: Log;
  readonly secured: Awaited<ReturnType<typeof serveTlsOf>>;
};

/** Everything beside the agents; answers where it is to be found. */
async function serveOthers(
  { env, settings, output }: Context,
  { http, nbd, snapshotEvery, ...values }: ServeValues,
  { observed, log, secured }: Others,
  open: AsyncDisposableStack,
): Promise<Record<string, string>> {
  const places: Record<string, string> = {};
  const { tenants } = observed.server;
  const metrics = await metricsOf(observed);
  const start = (address: Address, isPrivate: boolean) =>
    startApi({ env, observed, metrics, log, address, isPrivate });
  // `ferry status` and `ferry peers --invite` ask here.
  const name = 'serve';
  open.use(await serveAt(env, settings, { name, address: undefined }, (at) => start(at, true)));
  if (http !== undefined) places.http = httpUri(open.use(await start(http, false)).address);
  if (nbd !== undefined) {
    const served = await serveNbd(env, {
      ...{ address: nbd, exports: replicaExports(env, tenants) },
      ...(secured !== undefined && { tls: secured }),
      onTrouble: (who, error) => log.debug({ event: 'nbd' }, `${who}: ${messageOf(error)}`),
    });
    const tls = secured?.mode === 'require';
    places.nbd = formatUri({ address: open.use(served).address, tls, exportName: '' });
  }
  const stop = new AbortController();
  open.defer(() => stop.abort());
  for (const each of observed.forwarders) {
    const running = each.run(stop.signal);
    running.catch((error: unknown) => output.warn(`nothing is forwarded: ${messageOf(error)}`));
  }
  if (snapshotEvery !== undefined) {
    const keep = policyOf(values);
    const done = runSchedule(env, tenants, { everyMs: snapshotEvery, keep, log }, stop.signal);
    done.catch((error: unknown) => output.warn(`no more snapshots are made: ${messageOf(error)}`));
  }
  return places;
}

/** Each provider must have been paired with, by a `ferry pair` with this state directory. */
async function forwardersOf(
  { env }: Context,
  { forward, lane }: ServeValues,
  { server, node, log }: { server: ReplicaServer; node: Node; log: Log },
): Promise<Forwarder[]> {
  const forwarders: Forwarder[] = [];
  for (const { address, written } of forward) {
    const { fingerprint: target } = await knownProvider(node.peers, written);
    forwarders.push(
      new Forwarder(env, {
        ...{ provider: server.provider(FIRST_TENANT), target, written, log },
        own: toHex(node.identity.fingerprint),
        connect: () => connectProvider(env, { ...node, address, written, lane }),
      }),
    );
  }
  return forwarders;
}

function httpUri(address: Address): string {
  const written = writtenAddress(address);
  return address.kind === 'unix' ? written : `http://${written}`;
}
