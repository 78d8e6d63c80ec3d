/** Tenant: a repository of its own, the replicas that become its snapshots, and who they are of. */
import type { CodecPool } from '../codec/index.ts';
import type { Env } from '../core/index.ts';
import type { Repository } from '../store/index.ts';
import { backup } from '../transfer/backup/index.ts';
import { type MakeSnapshot, Provider, type ProviderOptions } from '../transfer/replicate/index.ts';

/** The name of the tenant whose repository is that of `--repo`. */
export const FIRST_TENANT = '';

export const TENANT_NAME = /^[a-z0-9][a-z0-9-]{0,31}$/;

export type TenantOptions = {
  readonly name: string;
  readonly repository: Repository;
  /** Holds a folder for each replica; exists. */
  readonly directory: string;
  /** Threads that make its snapshots. */
  readonly pool: CodecPool;
};

type TenantParts = Pick<
  ProviderOptions,
  'policy' | 'fingerprint' | 'onEvent' | 'journalBytesDue'
> & {
  /** Runs what makes one in the turn of all tenants, as each takes memory of its own. */
  readonly snapshots?: <T>(make: () => Promise<T>, signal: AbortSignal) => Promise<T>;
};

export type Tenant = { readonly name: string; readonly provider: Provider };

export function tenantOf(
  env: Env,
  { name, repository, directory, pool }: TenantOptions,
  { snapshots = (make) => make(), ...options }: TenantParts,
): Tenant {
  const makeSnapshot: MakeSnapshot = async (device, since, wish) => {
    const how = since === undefined ? { compare: false } : { since };
    const request = { ...wish, changeSource: 'replica', pool, ...how };
    const make = () => backup(env, repository, device, request);
    const { snapshot } = await snapshots(make, wish.signal);
    return snapshot;
  };
  return { name, provider: new Provider({ env, repository, directory, makeSnapshot, ...options }) };
}
