/** `ferry promote`: the provider writes a volume that an agent wrote. */
import { codecPool } from '../../codec/index.ts';
import { hasCode } from '../../core/index.ts';
import { FIRST_TENANT, tenantOf } from '../../service/index.ts';
import type { Promoted, PromoteOptions } from '../../transfer/replicate/index.ts';
import { apiSockets, ask } from '../api-client.ts';
import type { Context } from '../context.ts';
import { CliError } from '../errors.ts';
import { tenantPlace } from '../replicas.ts';
import { formatTime, repositoryOf, snapshotFields, snapshotName } from '../repository.ts';
import { formatDuration, formatSize } from '../sizes.ts';
import type { Run } from '../spec.ts';
import { socketsOf } from '../state-directory.ts';
import type { promoteSpec } from '../table/provider.ts';

/** A planned move reads the whole volume; a lease may have to run out. */
const TIMEOUT_MS = 2 * 60 * 60 * 1000;

export const run: Run<typeof promoteSpec> = async (context: Context, values) => {
  const { output, signal } = context;
  const { volume, force: isForced, agentIsDead: isAgentDead, tenant = FIRST_TENANT } = values;
  const options = { isForced, isAgentDead };
  const promoted =
    (await askRunning(context, { volume, tenant }, options)) ??
    (await promoteHere(context, volume, { ...options, signal }));
  const { others = [], missing = [] } = promoted;
  const texts = [promoted, ...others].map((one) => textOf(context, one));
  const group = promoted.others && { others: others.map(fieldsOf), missing };
  output.summary({ ...fieldsOf(promoted), ...group }, texts.join('\n'));
  if (missing.length > 0) {
    const names = missing.join(', ');
    output.warn(`${names}: of the same group, not here at that epoch, and not promoted`);
  }
};

function fieldsOf({ volume, authority, snapshot, loss, isForced }: Promoted) {
  return { ...{ authority, ...loss, ...snapshotFields(snapshot) }, volume, isForced };
}

/** Has a `ferry serve` that has the volume do it; undefined if there is none. */
async function askRunning(
  { env, settings }: Context,
  { volume, tenant }: { readonly volume: string; readonly tenant: string },
  body: PromoteOptions,
): Promise<Promoted | undefined> {
  for (const path of await apiSockets(env.files, socketsOf(settings))) {
    const query = tenant === FIRST_TENANT ? '' : `?tenant=${encodeURIComponent(tenant)}`;
    const asked = { path: `/v1/volumes/${encodeURIComponent(volume)}/promote${query}`, body };
    const address = { kind: 'unix', path } as const;
    try {
      return await ask<Promoted>(address, { ...asked, method: 'POST', timeoutMs: TIMEOUT_MS });
    } catch (error) {
      // It was killed, or serves others.
      const others = ['CLI_NO_PROVIDER', 'REPLICATE_UNKNOWN_VOLUME', 'SERVICE_UNKNOWN_TENANT'];
      if (!others.some((code) => hasCode(error, code))) throw error;
    }
  }
  return undefined;
}

async function promoteHere(
  context: Context,
  volume: string,
  options: PromoteOptions,
): Promise<Promoted> {
  const { env, settings } = context;
  if (settings.repository === undefined) {
    throw new CliError('CLI_NO_PROVIDER', `no \`ferry serve\` that runs here has ${volume}`, {
      hint: 'Set FERRY_STATE_DIR as it has it; or name its repository (--repo), if it is stopped.',
    });
  }
  await using repository = await repositoryOf(context);
  await using pool = codecPool(env, env.workers.parallelism);
  const place = await tenantPlace(context, FIRST_TENANT, repository, pool);
  const { provider } = tenantOf(env, place, {});
  await using _provider = provider;
  return await provider.promote(volume, options);
}

function textOf(
  { env }: Context,
  { volume, authority, snapshot, isForced, loss }: Promoted,
): string {
  const { epoch, cutWallMs, sinceContactMs, missingBytes } = loss;
  const lines = [
    `${volume} is written here from now on, under authority ${authority}`,
    `  stands on  ${snapshotName(snapshot)}, epoch ${epoch}`,
  ];
  if (isForced) {
    const cut =
      cutWallMs === undefined
        ? `stored ${formatTime(snapshot.time)}`
        : `of ${formatTime(new Date(cutWallMs).toISOString())} on the agent's clock`;
    const ageMs = cutWallMs === undefined ? undefined : env.clock.wallMs() - cutWallMs;
    const age = ageMs === undefined || ageMs < 0 ? '' : `, ${formatDuration(ageMs)} ago`;
    lines.push(`  lost       whatever the agent wrote after that epoch, ${cut}${age}`);
    if (missingBytes > 0)
      lines.push(`             (${formatSize(missingBytes)} were on their way)`);
    if (sinceContactMs !== undefined)
      lines.push(`             the agent was heard last ${formatDuration(sinceContactMs)} ago`);
  } else lines.push('  lost       nothing: its agent has stopped, and the digests are equal');
  lines.push(
    `  use it     ferry export replica:${volume} --listen ADDR`,
    '  back       ferry replicate SOURCE --to PROVIDER --reverse, on the old machine',
  );
  return lines.join('\n');
}
