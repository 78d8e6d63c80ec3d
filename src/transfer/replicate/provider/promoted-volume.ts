/** A promoted volume: the last whole epoch of its agent, and what is written here over it. */
import type { Env } from '../../../core/index.ts';
import { type CopyOnWrite, type KeptLayer, openKeptLayer } from '../../../device/index.ts';
import type { Repository, Snapshot } from '../../../store/index.ts';
import { ReplicateError } from '../errors.ts';
import { type AuthorityState, readAuthority } from './replica-authority.ts';

export type PromotedOptions = {
  readonly repository: Repository;
  /** Of the replica. */
  readonly directory: string;
  readonly volume: string;
};

/** Nobody else has it open. Disposing it keeps what was written. */
export interface PromotedVolume extends AsyncDisposable {
  /** Its changed extents are what differs from `snapshot`, or may. */
  readonly device: CopyOnWrite;
  readonly snapshot: Snapshot;
  readonly authority: AuthorityState;
  /** Removes what was written: the agent has it. */
  discard(): Promise<void>;
}

/** REPLICATE_NOT_PROMOTED, REPLICATE_FENCED, REPLICATE_BASE_GONE; DEVICE_ACCESS if it is in use. */
export async function openPromoted(env: Env, options: PromotedOptions): Promise<PromotedVolume> {
  const { repository, directory, volume } = options;
  const { promotion } = await readAuthority(env, directory);
  const id = promotion?.snapshot ?? undefined;
  if (id === undefined) throw notPromoted(volume);
  await repository.refresh();
  const snapshot = repository.snapshots(volume).find((one) => one.id === id);
  if (snapshot === undefined) throw baseGone(volume, id);
  const pin = await repository.pin([snapshot], true);
  let layer: KeptLayer | undefined;
  try {
    const opened = await openKeptLayer(env.files, {
      base: await repository.device(snapshot),
      identity: `promoted/${volume}/${id}`,
      directory: `${directory}/promoted-${id.slice(0, 16)}`,
    });
    layer = opened;
    // Now that nobody else can give it back: it may have been just before.
    const authority = await readAuthority(env, directory);
    if (authority.promotion?.snapshot !== id) throw notPromoted(volume);
    return {
      ...{ device: opened.device, snapshot, authority },
      async discard() {
        await opened.discard();
        await pin[Symbol.asyncDispose]();
      },
      async [Symbol.asyncDispose]() {
        await opened[Symbol.asyncDispose]();
        await pin[Symbol.asyncDispose]();
      },
    };
  } catch (error) {
    await layer?.[Symbol.asyncDispose]();
    await pin[Symbol.asyncDispose]();
    throw error;
  }
}

/** REPLICATE_FENCED if it was offered to its agent, and nobody knows whether that took it. */
export function checkNotOffered(volume: string, { offer }: AuthorityState): void {
  if (offer === undefined) return;
  const message = `${volume} was offered to its agent, which has not said whether it took it`;
  throw new ReplicateError('REPLICATE_FENCED', message, {
    hint: 'Run `ferry replicate --reverse` there again, or `ferry promote --force` here.',
  });
}

function notPromoted(volume: string): ReplicateError {
  return new ReplicateError('REPLICATE_NOT_PROMOTED', `${volume} is written by its agent`, {
    hint: `Promote it first: \`ferry promote ${volume}\`.`,
  });
}

function baseGone(volume: string, id: string): ReplicateError {
  const what = `${volume}@${id.slice(0, 8)}, on which the promoted volume stands,`;
  return new ReplicateError('REPLICATE_BASE_GONE', `${what} was forgotten`, {
    hint: 'It was held; put the repository back to where it still had it.',
  });
}
