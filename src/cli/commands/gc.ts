/** `ferry gc`: gives back the room of what no snapshot needs. */
import { collectAndTell } from '../garbage.ts';
import { repositoryOf } from '../repository.ts';
import type { Run } from '../spec.ts';
import type { gcSpec } from '../table/retention.ts';

export const run: Run<typeof gcSpec> = async (context, { dryRun, breakPin, noPassword }) => {
  await using repository = await repositoryOf(context, { withoutPassword: noPassword });
  await collectAndTell(context, repository, { dryRun, breakPins: breakPin });
};
