/** Where a provider keeps replicas: a folder of the state directory for each repository. */
import type { CodecPool } from '../codec/index.ts';
import type { StateFolder } from '../core/index.ts';
import type { TenantOptions } from '../service/index.ts';
import type { Repository } from '../store/index.ts';
import type { Context } from './context.ts';
import { stateFolder } from './repository.ts';

export function replicasOf(context: Context, { superblock }: Repository): StateFolder {
  return stateFolder(context, `replicas/${superblock.repositoryId}`);
}

/** A tenant whose folder is there. */
export async function tenantPlace(
  context: Context,
  name: string,
  repository: Repository,
  pool: CodecPool,
): Promise<TenantOptions> {
  const { directory, makeDirectory } = replicasOf(context, repository);
  await makeDirectory();
  return { name, repository, pool, directory };
}
