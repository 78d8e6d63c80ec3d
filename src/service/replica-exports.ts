/** Replicas and snapshots as NBD exports: VOL is the newest epoch, VOL@SNAP a snapshot. */
import { type Env, hasCode } from '../core/index.ts';
import type { Export, ExportSource } from '../nbd/index.ts';
import { mount } from '../transfer/mount/index.ts';
import { nameOf } from './counts.ts';
import { FIRST_TENANT, type Tenant } from './tenant.ts';

/**
 * A client keeps the epoch that was the newest one when it came, for as long as it stays. Of a
 * tenant with a name it is TENANT/VOL.
 */
export function replicaExports(env: Env, tenants: readonly Tenant[]): ExportSource {
  return {
    async find(name) {
      const { tenant, rest } = tenantOfName(tenants, name);
      if (tenant === undefined || rest === '') return undefined;
      return rest.includes('@')
        ? await snapshotExport(env, tenant, rest)
        : await liveExport(tenant, rest);
    },
    async list() {
      const names: string[] = [];
      for (const { name, provider } of tenants) {
        const { repository } = provider;
        await repository.refresh();
        for (const { volume } of await provider.list()) names.push(nameOf(name, volume));
        for (const { volume, id } of repository.snapshots()) {
          names.push(nameOf(name, `${volume}@${id.slice(0, 8)}`));
        }
      }
      return names;
    },
  };
}

function tenantOfName(tenants: readonly Tenant[], name: string) {
  const named = tenants.find((one) => one.name !== '' && name.startsWith(`${one.name}/`));
  if (named !== undefined) return { tenant: named, rest: name.slice(named.name.length + 1) };
  return { tenant: tenants.find((one) => one.name === FIRST_TENANT), rest: name };
}

async function liveExport({ provider }: Tenant, volume: string): Promise<Export | undefined> {
  const held = await provider.hold(volume);
  if (held === undefined) return undefined;
  return {
    ...{ device: held.device, readOnly: true, isMomentary: true },
    description: `${volume}, epoch ${held.epoch}`,
    close: async () => held[Symbol.asyncDispose](),
  };
}

async function snapshotExport(
  env: Env,
  { provider: { repository } }: Tenant,
  name: string,
): Promise<Export | undefined> {
  await repository.refresh();
  try {
    const snapshot = repository.resolve(name);
    const mounted = await mount(env, repository, snapshot, {});
    return {
      ...{ device: mounted.device, readOnly: true },
      description: `${snapshot.volume}@${snapshot.id.slice(0, 8)} of ${snapshot.time}`,
      close: async () => mounted[Symbol.asyncDispose](),
    };
  } catch (error) {
    if (UNKNOWN.some((code) => hasCode(error, code))) return undefined;
    throw error;
  }
}

const UNKNOWN = ['STORE_VOLUME_NOT_FOUND', 'STORE_SNAPSHOT_NOT_FOUND', 'STORE_NAME'];
