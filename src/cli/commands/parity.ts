/** `ferry parity`: how much is kept to repair packs from; makes what is missing of it. */
import { codecPool } from '../../codec/index.ts';
import {
  dropParity,
  type Protection,
  protectRepository,
  type Repository,
  setParity,
} from '../../store/index.ts';
import type { Context } from '../context.ts';
import { usageError } from '../errors.ts';
import { exitStatus } from '../exit-codes.ts';
import { repositoryOf } from '../repository.ts';
import { formatSize } from '../sizes.ts';
import type { Run } from '../spec.ts';
import type { paritySpec } from '../table/repository.ts';

export const run: Run<typeof paritySpec> = async (context, { percent, noPassword }) => {
  if (noPassword && percent !== undefined) {
    throw usageError('the share is in the log, which takes the password', 'ferry parity');
  }
  await using repository = await repositoryOf(context, {
    withoutPassword: noPassword,
    cache: false,
  });
  const renews = percent !== undefined && percent !== repository.log.state.parityPercent;
  if (renews) await setParity(repository, percent);
  if (percent === 0) await dropParity(repository.objects, context.signal);
  const protection = await protect(context, repository, renews);
  return tell(context, repository, protection);
};

async function protect(
  { env, output, signal }: Context,
  repository: Repository,
  renews: boolean,
): Promise<Protection> {
  await using pool = codecPool(env, 1);
  const progress = output.progress('protecting', 0);
  const onProgress = ({ bytes }: { readonly bytes: number }) => progress.update(bytes);
  const protection = await protectRepository(repository, { pool, renews, onProgress, signal });
  progress.finish();
  return protection;
}

async function tell(
  { output }: Context,
  repository: Repository,
  { made, madeBytes, damaged }: Protection,
): Promise<number> {
  const percent = repository.log.state.parityPercent;
  const there = { packs: 0, bytes: 0 };
  for await (const { sizeBytes } of repository.objects.list('parity/')) {
    there.packs++;
    there.bytes += sizeBytes;
  }
  for (const pack of damaged) {
    output.warn(`pack ${pack} is damaged and gets no new parity: run ferry check --repair`);
  }
  const words = percent === 0 ? 'off' : `${percent} %`;
  output.summary(
    { percent, ...there, made, madeBytes, damagedPacks: damaged },
    `parity ${words}: ${there.packs} packs have ${formatSize(there.bytes)} of it; ` +
      `made now for ${made}`,
  );
  return damaged.length === 0 ? exitStatus.done : exitStatus.damage;
}
