/** `ferry restore`: writes a snapshot to a target, bit for bit. */
import { codecPool } from '../../codec/index.ts';
import type { Run } from '../spec.ts';
import type { restoreSpec } from '../table/backup.ts';

export const run: Run<typeof restoreSpec> = async (context, values) => {
  const { env } = context;
  // Its threads come up while the rest of the code is loaded and the repository opened.
  await using pool = codecPool(env, env.workers.parallelism, { atOnce: true, callerHelps: true });
  const { restoreSnapshot } = await import('../restore-snapshot.ts');
  await restoreSnapshot(context, values, pool);
};
