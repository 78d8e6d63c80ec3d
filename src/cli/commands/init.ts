/** `ferry init`: makes a repository. */
import { initRepository } from '../../transfer/index.ts';
import { requireRepository } from '../settings.ts';
import { formatSizeExact } from '../sizes.ts';
import type { Run } from '../spec.ts';
import type { initSpec } from '../table/repository.ts';

export const run: Run<typeof initSpec> = async ({ env, output, settings }, values) => {
  const location = requireRepository(settings);
  const made = await initRepository(env, location, { chunkBytes: values.chunkSize });
  const { repositoryId, chunkBytes, created } = made;
  output.summary(
    { repositoryId, chunkBytes, created },
    `made repository ${repositoryId.slice(0, 8)} in ${location}, chunks of ` +
      `${formatSizeExact(chunkBytes)}`,
  );
};
