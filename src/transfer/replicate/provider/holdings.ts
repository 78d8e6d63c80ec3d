/** Holdings: what an agent has at a provider, counted against its quota. */
import { type Env, hasCode, unlessMissing } from '../../../core/index.ts';
import type { Repository } from '../../../store/index.ts';
import { ReplicateError } from '../errors.ts';
import type { Quota } from './policy.ts';
import { readAuthority } from './replica-authority.ts';
import { originOf, type ReplicaState, readReplicaState } from './replica-state.ts';

export type Wanted = { readonly volume: string; readonly sizeBytes: number };

/** What lies in the folders of a provider; one whose state cannot be read is left out. */
export async function replicaStates(env: Env, directory: string): Promise<ReplicaState[]> {
  const states: ReplicaState[] = [];
  for (const name of await env.files.list(directory)) {
    const state = await readReplicaState(env, `${directory}/${name}`).catch((error: unknown) => {
      if (hasCode(error, 'REPLICATE_STATE') || hasCode(error, 'ENV_NOT_A_DIRECTORY')) return;
      throw error;
    });
    if (state !== undefined) states.push(state);
  }
  return states;
}

/** Of a replica that nobody has open; undefined if what says so cannot be read. */
export async function isPromoted(env: Env, folder: string): Promise<boolean | undefined> {
  try {
    return (await readAuthority(env, folder)).promotion !== undefined;
  } catch (error) {
    // Whoever opens it is told.
    if (hasCode(error, 'REPLICATE_STATE')) return undefined;
    throw error;
  }
}

/** Of a replica that nobody has open. */
export async function journalBytesOf(
  { files }: Env,
  folder: string,
  { journals }: ReplicaState,
): Promise<number> {
  let bytes = 0;
  for (const number of journals) {
    const stat = await unlessMissing(files.stat(`${folder}/journal-${number}`));
    bytes += stat?.sizeBytes ?? 0;
  }
  return bytes;
}

/** REPLICATE_QUOTA if the agent would have more volumes, or more bytes in them, than it may. */
export function checkLogical(
  states: readonly ReplicaState[],
  agent: string,
  { volumesMax, logicalBytesMax }: Quota,
  { volume, sizeBytes }: Wanted,
): void {
  const others = states.filter((state) => state.owner === agent && state.volume !== volume);
  const bytes = others.reduce((sum, other) => sum + other.sizeBytes, sizeBytes);
  if (others.length + 1 <= volumesMax && bytes <= logicalBytesMax) return;
  throw overQuota(`${volume} would make it ${others.length + 1} volumes with ${bytes} bytes`);
}

/** REPLICATE_QUOTA. */
export function checkStored(storedBytes: number, { storedBytesMax }: Quota): void {
  if (storedBytes < storedBytesMax) return;
  throw overQuota(`${storedBytes} bytes are stored for this agent, of ${storedBytesMax}`);
}

/** What the snapshots of an agent's volumes have added to the repository. */
export function snapshotBytes(repository: Repository, agent: string): number {
  const origin = originOf(agent);
  let bytes = 0;
  for (const snapshot of repository.snapshots()) {
    if (snapshot.origin === origin) bytes += snapshot.storedBytes;
  }
  return bytes;
}

function overQuota(message: string): ReplicateError {
  return new ReplicateError('REPLICATE_QUOTA', message, {
    hint: 'Ask whoever runs the provider for more (`ferry peers AGENT --quota`), or forget some.',
  });
}
