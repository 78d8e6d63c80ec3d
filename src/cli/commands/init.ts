/** `ferry init`: makes a repository. */
import { isSingleWriter } from '../../store/index.ts';
import { initRepository } from '../../transfer/index.ts';
import { s3Of } from '../repository.ts';
import { requireRepository } from '../settings.ts';
import { formatSizeExact } from '../sizes.ts';
import type { Run } from '../spec.ts';
import type { initSpec } from '../table/repository.ts';

export const run: Run<typeof initSpec> = async (context, values) => {
  const { env, output, settings } = context;
  const location = requireRepository(settings);
  const made = await initRepository(env, location, {
    chunkBytes: values.chunkSize,
    s3: s3Of(context, false),
  });
  const { repositoryId, chunkBytes, created } = made;
  const singleWriter = isSingleWriter(made);
  if (singleWriter) output.warn(oneWriter);
  output.summary(
    { repositoryId, chunkBytes, created, singleWriter },
    `made repository ${repositoryId.slice(0, 8)} in ${location}, chunks of ` +
      `${formatSizeExact(chunkBytes)}`,
  );
};

const oneWriter =
  'this server overwrites objects although it was asked not to (If-None-Match): only this host ' +
  'may write to the repository; another one takes it over with --takeover';
