/** `ferry gc`: gives back the room of what no snapshot needs, and of what volumes share. */
import { collectAndTell } from '../garbage.ts';
import { repositoryOf } from '../repository.ts';
import type { Run } from '../spec.ts';
import type { gcSpec } from '../table/retention.ts';

export const run: Run<typeof gcSpec> = async (context, options) => {
  const { dryRun, similar, breakPin, noPassword } = options;
  await using repository = await repositoryOf(context, { withoutPassword: noPassword });
  await collectAndTell(context, repository, { dryRun, similar, breakPins: breakPin });
};
