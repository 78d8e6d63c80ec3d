/** `ferry status`: what providers and exports that run here, or a provider elsewhere, do now. */
import { resolve } from 'node:path';
import { type Address, hasCode } from '../../core/index.ts';
import { nameOf, type Status } from '../../service/index.ts';
import { runningExports, standingOf } from '../../transfer/export/index.ts';
import { apiSockets, ask } from '../api-client.ts';
import type { Context } from '../context.ts';
import { CliError } from '../errors.ts';
import { type ProviderState, providerText } from '../provider-state.ts';
import { formatDuration, formatSize } from '../sizes.ts';
import type { Run } from '../spec.ts';
import { socketsOf } from '../state-directory.ts';
import type { statusSpec } from '../table/provider.ts';
import { textTable } from '../text-table.ts';

export const run: Run<typeof statusSpec> = async (context: Context, { address }) => {
  const { output, settings } = context;
  const isHere = address === undefined;
  const all = isHere ? await running(context) : [await statusAt(address)];
  const exports = isHere ? await exportsOf(context) : [];
  if (all.length + exports.length === 0) {
    const where = `with the state in ${socketsOf(settings)}`;
    throw new CliError('CLI_NO_PROVIDER', `no provider and no tracked export runs ${where}`, {
      hint: 'Start `ferry serve`, set FERRY_STATE_DIR as it has it, or name its --http.',
    });
  }
  for (const status of all) {
    if (output.options.json) output.item('provider', status, '');
    else output.text(textOf(status));
  }
  for (const one of exports) output.item('export', one, exportText(one));
  const degraded = all.filter(({ status }) => status !== 'ok').length;
  const unconnected = exports.filter((one) => one.providers.some((to) => !to.isConnected)).length;
  output.summary({ providers: all.length, degraded, exports: exports.length, unconnected }, '');
};

type ExportStatus = {
  readonly volume: string;
  readonly origin: string;
  readonly sizeBytes: number;
  readonly isTracked: boolean;
  /** Why writes are refused. */
  readonly refusal: string | null;
  readonly providers: readonly ProviderState[];
};

/** Of every tracked export with this state directory. */
async function exportsOf({ env, settings }: Context): Promise<ExportStatus[]> {
  const found: ExportStatus[] = [];
  for await (const one of runningExports(env, resolve(settings.stateDirectory))) {
    const { volume, origin, sizeBytes, isTracked } = one;
    const standing = await standingOf(env, one).catch((error: unknown) => {
      // It has ended just now.
      if (!hasCode(error, 'ENV_REFUSED') && !hasCode(error, 'ENV_CLOSED')) throw error;
    });
    if (standing === undefined) continue;
    const providers = standing.providers as readonly ProviderState[];
    found.push({ volume, origin, sizeBytes, isTracked, refusal: standing.refusal, providers });
  }
  return found;
}

function exportText({ volume, sizeBytes, refusal, providers }: ExportStatus): string {
  const to = providers.length === 0 ? ', kept at no provider' : '';
  return [
    `export      ${volume}, ${formatSize(sizeBytes)}${to}`,
    ...(refusal === null ? [] : [`refused     writes: ${refusal}`]),
    ...providers.map((one) => `kept at     ${providerText(one)}`),
  ].join('\n');
}

function statusAt(address: Address): Promise<Status> {
  return ask<Status>(address, { path: '/v1/status' });
}

/** Of every provider with this state directory. */
async function running({ env, settings }: Context): Promise<Status[]> {
  const directory = socketsOf(settings);
  const found: Status[] = [];
  for (const path of await apiSockets(env.files, directory)) {
    // One that was killed leaves its socket behind.
    await statusAt({ kind: 'unix', path }).then(
      (status) => found.push(status),
      (error: unknown) => {
        if (!hasCode(error, 'CLI_NO_PROVIDER')) throw error;
      },
    );
  }
  return found;
}

function textOf(status: Status): string {
  const { uri, upMs, tenants, problems, refused, errors, halfOpen, version } = status;
  const lines = [
    `provider    ${uri}, up for ${formatDuration(upMs)}, ${status.status}, version ${version}`,
    ...tenants.map(({ name, repository }) =>
      name === '' ? `repository  ${repository}` : `tenant      ${name}: ${repository}`,
    ),
  ];
  if (halfOpen > 0) lines.push(`half-open   ${halfOpen} connections`);
  for (const [title, counts] of [
    ['refused', refused],
    ['errors', errors],
  ] as const) {
    const told = Object.entries(counts).map(([code, count]) => `${count} ${code}`);
    if (told.length > 0) lines.push(`${title.padEnd(10)}  ${told.join(', ')}`);
  }
  for (const { volume, code } of problems) lines.push(`failing     ${volume}: ${code}`);
  for (const { to, isConnected, waiting, refused: codes } of status.forwards) {
    const told = Object.entries(codes).map(([volume, code]) => `${volume} ${code}`);
    const state = `${isConnected ? 'connected' : 'not connected'}, ${waiting} volumes wait`;
    lines.push(`forward     ${to}: ${state}${told.map((one) => `; ${one}`).join('')}`);
  }
  lines.push('', sessionTable(status), '', volumeTable(status));
  return lines.join('\n');
}

function sessionTable({ sessions }: Status): string {
  if (sessions.length === 0) return 'no agent is connected';
  const titles = [
    'AGENT',
    'STATE',
    'ROUND TRIP',
    'RECEIVED',
    'WAITS THERE',
    'SENDS BY',
    'ANSWERED BY',
  ];
  return textTable(
    titles.map((title) => ({ title })),
    sessions.map(({ agent, state, roundTripMs, receivedBytes, peerBacklogBytes, ...session }) => [
      ...[agent, state, formatDuration(roundTripMs)],
      Object.entries(receivedBytes)
        .map(([kind, bytes]) => `${formatSize(bytes)} ${kind}`)
        .join(', '),
      ...[formatSize(peerBacklogBytes), session.peerLanes || '?', session.lane],
    ]),
  );
}

function volumeTable({ volumes }: Status): string {
  if (volumes.length === 0) return 'no volume is kept here yet';
  const left = ['VOLUME', 'AGENT', 'HERE'].map((title) => ({ title }));
  const right = ['SIZE', 'EPOCH', 'LAG', 'BACKLOG', 'JOURNAL'].map((title) => ({
    ...({ title, align: 'right' } as const),
  }));
  return textTable(
    [...left, ...right, { title: 'SNAPSHOT' }],
    volumes.map(({ tenant, volume, agent, isConnected, snapshot, ...status }) => [
      `${nameOf(tenant, volume)}${status.group === undefined ? '' : ` (${status.group})`}`,
      ...[agent, isConnected ? 'yes' : 'no'],
      ...[formatSize(status.sizeBytes), `${status.epoch}${status.isOpen ? '' : '+'}`],
      lagOf(status),
      ...[formatSize(status.backlogBytes), formatSize(status.journalBytes)],
      snapshot === null ? 'none yet' : snapshot.slice(0, 8),
    ]),
  );
}

/** Of a promoted volume nothing more is awaited. */
function lagOf({ isPromoted, lagMs }: Pick<Status['volumes'][number], 'isPromoted' | 'lagMs'>) {
  if (isPromoted) return 'promoted';
  return lagMs === undefined ? '?' : formatDuration(lagMs);
}
