/** Sets a replica aside whose snapshot is gone: kept under another name, so that it begins anew. */
import { type Env, unlessMissing } from '../../../core/index.ts';
import type { ReplicateError } from '../errors.ts';
import { replicaFolder } from './new-replica.ts';
import { readAuthority } from './replica-authority.ts';
import { putAside } from './replica-errors.ts';
import { readReplicaState } from './replica-state.ts';

const FOLDER = 'aside';

/**
 * Nobody has it open, and its agent, which has all of it, is here. Answers with what there is to be
 * told; throws `cause` if it was promoted. Done once more after a power cut, it goes on.
 */
export async function setAside(
  env: Env,
  directory: string,
  volume: string,
  cause: unknown,
): Promise<ReplicateError> {
  const { files } = env;
  const folder = replicaFolder(volume);
  const own = `${directory}/${folder}`;
  // Who may write the volume stays where it is, and so does what a promotion wrote.
  if ((await readAuthority(env, own)).promotion !== undefined) throw cause;
  const { replica, journals } = (await readReplicaState(env, own))!;
  const target = `${directory}/${FOLDER}/${folder}-${replica.slice(0, 8)}`;
  for (const made of [`${directory}/${FOLDER}`, target]) await files.makeDirectory(made);
  for (const parent of [directory, `${directory}/${FOLDER}`]) await files.syncDirectory(parent);
  const move = async (name: string) => {
    await unlessMissing(files.rename(`${own}/${name}`, `${target}/${name}`));
  };
  for (const number of journals) await move(`journal-${number}`);
  // The state goes last: without it another replica would begin, over these journals.
  for (const changed of [target, own]) await files.syncDirectory(changed);
  await move('replica.json');
  for (const changed of [target, own]) await files.syncDirectory(changed);
  return putAside(volume, target, cause);
}
