/** The HTTP API of a provider: status, volumes, snapshots, metrics, health; by fastify. */
import {
  type Address,
  type Env,
  EnvError,
  FerryError,
  hasCode,
  messageOf,
} from '../../core/index.ts';
import type { PromoteOptions } from '../../transfer/replicate/index.ts';
import { ServiceError } from '../errors.ts';
import type { Log } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import { healthOf, type Observed, statusOf, volumesOf } from '../status.ts';
import { FIRST_TENANT } from '../tenant.ts';
import { schemas } from './schemas.ts';

export type ApiOptions = {
  readonly env: Env;
  readonly observed: Observed;
  readonly metrics: Metrics;
  readonly log: Log;
  readonly address: Address;
  /** Only who may open the socket can ask: requests that change something are answered too. */
  readonly isPrivate: boolean;
};

export type Api = AsyncDisposable & { readonly address: Address };

/** Nobody needs many, or long ones. */
const CONNECTIONS_MAX = 64;
const BODY_BYTES_MAX = 16 * 1024;
const REQUEST_TIMEOUT_MS = 10_000;
const IDLE_TIMEOUT_MS = 60_000;
const CONNECT_TIMEOUT_MS = 1_000;

/** ENV_ADDRESS_IN_USE, ENV_ACCESS. */
export async function startApi(options: ApiOptions): Promise<Api> {
  const { env, observed, log, address } = options;
  const { fastify } = await import('fastify');
  const app = fastify({
    ...{ bodyLimit: BODY_BYTES_MAX, requestTimeout: REQUEST_TIMEOUT_MS },
    ...{ keepAliveTimeout: IDLE_TIMEOUT_MS, forceCloseConnections: true },
    // A volume's name may be long, and is no path.
    routerOptions: { maxParamLength: 1024 },
  });
  app.server.maxConnections = CONNECTIONS_MAX;
  const { default: swagger } = await import('@fastify/swagger');
  const info = { title: 'ferry serve', version: observed.version };
  await app.register(swagger, { openapi: { openapi: '3.1.0', info } });
  app.setErrorHandler((error, request, reply) => {
    const { status, ...failure } = failureOf(error);
    log.debug({ url: request.url, ...failure }, `${request.url}: ${failure.message}`);
    void reply.code(status).send(failure);
  });
  app.setNotFoundHandler((_request, reply) => {
    const hint = 'See /openapi.json for what there is.';
    void reply
      .code(404)
      .send({ code: 'SERVICE_NOT_FOUND', message: 'there is no such page', hint });
  });
  await app.register(async (routes) => addRoutes(routes, options));
  const place =
    address.kind === 'unix' ? { path: address.path } : { host: address.host, port: address.port };
  try {
    if (address.kind === 'unix') await removeStale(env, address);
    await app.listen(place);
  } catch (error) {
    throw cannotListen(error, address);
  }
  const bound = app.server.address();
  const actual =
    address.kind === 'tcp' && typeof bound === 'object' && bound !== null
      ? { ...address, port: bound.port }
      : address;
  return { address: actual, [Symbol.asyncDispose]: () => app.close() };
}

/** A socket that a killed provider has left behind. */
async function removeStale({ net, files }: Env, address: Address & { kind: 'unix' }) {
  try {
    (await net.connect(address, CONNECT_TIMEOUT_MS)).destroy();
  } catch (error) {
    if (hasCode(error, 'ENV_REFUSED')) await files.remove(address.path);
  }
}

type Routes = import('fastify').FastifyInstance;
type Wanted = { readonly tenant?: string; readonly volume?: string };

function addRoutes(routes: Routes, { observed, metrics, isPrivate }: ApiOptions): void {
  const { server } = observed;
  routes.get('/healthz', { schema: schemas.health }, async (_request, reply) => {
    const health = healthOf(observed);
    return reply.code(health.status === 'stopping' ? 503 : 200).send(health);
  });
  routes.get('/metrics', { schema: { hide: true } }, async (_request, reply) =>
    reply.type(metrics.contentType).send(await metrics.text()),
  );
  routes.get('/openapi.json', { schema: { hide: true } }, async () => routes.swagger());
  routes.get('/v1/status', { schema: schemas.status }, () => statusOf(observed));
  routes.get('/v1/volumes', { schema: schemas.volumes }, async () => ({
    volumes: await volumesOf(server),
  }));
  routes.get('/v1/volumes/:volume', { schema: schemas.volume }, async (request) => {
    const { tenant = FIRST_TENANT } = request.query as Wanted;
    const { volume } = request.params as Required<Pick<Wanted, 'volume'>>;
    const all = await volumesOf(server);
    const found = all.find((one) => one.volume === volume && one.tenant === tenant);
    if (found === undefined) throw noVolume(volume);
    return found;
  });
  routes.get('/v1/snapshots', { schema: schemas.snapshots }, async (request) => {
    const { tenant = FIRST_TENANT, volume } = request.query as Wanted;
    const { repository } = server.provider(tenant);
    await repository.refresh();
    return { snapshots: repository.snapshots(volume) };
  });
  if (isPrivate) addPrivateRoutes(routes, observed);
}

function addPrivateRoutes(routes: Routes, { server, uri }: Observed): void {
  routes.post('/v1/volumes/:volume/snapshot', { schema: schemas.makeSnapshot }, async (request) => {
    const { tenant = FIRST_TENANT } = request.query as Wanted;
    const { volume } = request.params as Required<Pick<Wanted, 'volume'>>;
    const replica = await server.provider(tenant).known(volume);
    if (replica === undefined) throw noVolume(volume);
    return await replica.assemble();
  });
  routes.post('/v1/volumes/:volume/promote', { schema: schemas.promote }, async (request) => {
    const { tenant = FIRST_TENANT } = request.query as Wanted;
    const { volume } = request.params as Required<Pick<Wanted, 'volume'>>;
    const { isForced = false, isAgentDead = false } = request.body as Partial<PromoteOptions>;
    return await server.provider(tenant).promote(volume, { isForced, isAgentDead });
  });
  routes.post('/v1/invitations', { schema: schemas.invite }, async (request) => {
    const { tenant = FIRST_TENANT } = request.body as Wanted;
    return { uri, token: server.invite(tenant) };
  });
}

function failureOf(error: unknown) {
  if (error instanceof FerryError) {
    const { code, message, hint } = error;
    return { status: NOT_FOUND.has(code) ? 404 : 500, code, message, hint };
  }
  const { statusCode: status = 500 } = error as { statusCode?: number };
  const hint = 'See /openapi.json for what can be asked.';
  return { status, code: 'SERVICE_REQUEST', message: messageOf(error), hint };
}

const NOT_FOUND = new Set([
  ...['SERVICE_NOT_FOUND', 'SERVICE_UNKNOWN_TENANT', 'REPLICATE_UNKNOWN_VOLUME'],
]);

function noVolume(volume: string): ServiceError {
  return new ServiceError('SERVICE_NOT_FOUND', `no agent keeps ${volume} present here`, {
    hint: 'See /v1/volumes for those that there are.',
  });
}

function cannotListen(error: unknown, address: Address): unknown {
  const { code } = error as { code?: string };
  const where = address.kind === 'unix' ? address.path : `${address.host}:${address.port}`;
  if (code === 'EADDRINUSE') {
    return new EnvError('ENV_ADDRESS_IN_USE', `${where} is in use`, {
      hint: 'Stop what listens there, or use another address.',
      cause: error,
    });
  }
  return new EnvError('ENV_ACCESS', `cannot listen on ${where}: ${messageOf(error)}`, {
    hint: 'Use another address.',
    cause: error,
  });
}
