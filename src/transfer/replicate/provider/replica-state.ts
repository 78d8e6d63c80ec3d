/** What a replica remembers beside its journals: replaced whole, so that it is of one piece. */
import { type Env, readStateFile, replaceStateFile } from '../../../core/index.ts';
import { type EpochGroup, isEpochGroup } from '../epoch-group.ts';
import { ReplicateError } from '../errors.ts';

export type ReplicaState = {
  readonly volume: string;
  /** New with each replica, so that an agent notices that it began anew. */
  readonly replica: string;
  /** Whose volume it is. */
  readonly owner: string;
  readonly sizeBytes: number;
  /** The snapshot below the journals, and the epoch that it holds; null and 0 at first. */
  readonly snapshot: string | null;
  readonly epoch: number;
  /** Its agent's own name for that epoch, if it gave one. */
  readonly mark?: string | undefined;
  /** Providers by which its epochs have come, the nearest one last. */
  readonly via?: readonly string[];
  /** When it was cut, on its agent's clock, for people. */
  readonly cutWallMs?: number | undefined;
  /** With which that epoch was cut and committed. */
  readonly group?: EpochGroup | undefined;
  /** Numbers of files, oldest first; the last one is written to. */
  readonly journals: readonly number[];
};

const NAME = 'replica.json';
const BYTES_MAX = 64 * 1024;

export async function readReplicaState(
  env: Env,
  directory: string,
): Promise<ReplicaState | undefined> {
  const path = `${directory}/${NAME}`;
  const bytes = await readStateFile(env, path, BYTES_MAX);
  if (bytes === undefined) return undefined;
  try {
    const { version, ...state } = JSON.parse(new TextDecoder().decode(bytes));
    if (version !== 1 || !isState(state)) throw new TypeError('fields are missing');
    return state;
  } catch (cause) {
    throw new ReplicateError('REPLICATE_STATE', `${path} cannot be read`, {
      hint: 'Move its folder away: the replica begins anew from its newest snapshot.',
      cause,
    });
  }
}

export async function writeReplicaState(
  env: Env,
  directory: string,
  state: ReplicaState,
): Promise<void> {
  const text = `${JSON.stringify({ version: 1, ...state })}\n`;
  await replaceStateFile(env, `${directory}/${NAME}`, new TextEncoder().encode(text));
}

function isState(value: Record<string, unknown>): value is ReplicaState {
  const { volume, replica, owner, sizeBytes, snapshot, epoch, journals, mark, via, group } = value;
  return (
    [volume, replica, owner].every((text) => typeof text === 'string') &&
    [sizeBytes, epoch].every((number) => Number.isSafeInteger(number)) &&
    (snapshot === null || typeof snapshot === 'string') &&
    (mark === undefined || typeof mark === 'string') &&
    (via === undefined || Array.isArray(via)) &&
    (group === undefined || isEpochGroup(group)) &&
    Array.isArray(journals) &&
    journals.length > 0 &&
    journals.every((number) => Number.isSafeInteger(number))
  );
}

/** Tells the snapshots of a replica from those of other sources, see `Snapshot.origin`. */
export function originOf(owner: string): string {
  return `replica:${owner}`;
}
