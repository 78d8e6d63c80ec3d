/** That a group is promoted: durable in one file before each member's own; all are, or none. */
import { type Env, readStateFile, replaceStateFile } from '../../../core/index.ts';
import type { EpochGroup } from '../epoch-group.ts';
import { ReplicateError } from '../errors.ts';
import { GROUP_TEXT_BYTES_MAX } from '../limits.ts';
import { groupFile } from './group-decision.ts';
import type { Replica } from './replica.ts';

export type GroupPromotion = {
  readonly isForced: boolean;
  readonly wallMs: number;
  /** Of each member, by its name: what it takes, if it never had a higher one. */
  readonly authorities: Readonly<Record<string, number>>;
  /** Of each of them, its id: one that began anew since was not promoted. */
  readonly replicas: Readonly<Record<string, string>>;
};

const BYTES_MAX = 2 * GROUP_TEXT_BYTES_MAX;

export class GroupPromotions {
  readonly #env: Env;
  readonly #directory: string;

  /** `directory`: of the provider; exists. */
  constructor(env: Env, directory: string) {
    this.#env = env;
    this.#directory = directory;
  }

  /** In turn of all: from here on they are promoted, whatever becomes of their own files. */
  async decide(
    replicas: readonly Replica[],
    how: Pick<GroupPromotion, 'isForced' | 'wallMs'>,
  ): Promise<void> {
    const [first] = replicas;
    if (first?.group === undefined) return;
    const authorities = Object.fromEntries(
      replicas.map(({ volume, authority }) => [volume, authority.unused]),
    );
    const path = await this.#path(first.owner, first.group);
    const ids = Object.fromEntries(replicas.map(({ volume, id }) => [volume, id]));
    const text = `${JSON.stringify({ version: 1, ...how, authorities, replicas: ids })}\n`;
    await replaceStateFile(this.#env, path, new TextEncoder().encode(text));
  }

  /** Of a replica that was just opened: it takes what its group has decided. */
  async finish(replica: Replica): Promise<void> {
    const { group, owner, volume, authority } = replica;
    if (group === undefined) return;
    const decided = await read(this.#env, await this.#path(owner, group));
    if (decided?.replicas[volume] !== replica.id) return;
    const own = decided.authorities[volume] ?? 0;
    if (own > authority.state.highest) await replica.inTurn(() => replica.seize(decided));
  }

  #path(owner: string, group: EpochGroup): Promise<string> {
    return groupFile(this.#env, this.#directory, { owner, group, ending: 'promoted.json' });
  }
}

async function read(env: Env, path: string): Promise<GroupPromotion | undefined> {
  const bytes = await readStateFile(env, path, BYTES_MAX);
  if (bytes === undefined) return undefined;
  try {
    const text = new TextDecoder().decode(bytes);
    const { version, isForced, wallMs, authorities, replicas } = JSON.parse(text);
    const numbers = Object.values(authorities);
    const hasReplicas = typeof replicas === 'object' && replicas !== null;
    const isNumbered = hasReplicas && numbers.every(Number.isSafeInteger);
    const isWhole = typeof isForced === 'boolean' && isNumbered;
    if (version !== 1 || !isWhole) throw new TypeError('fields are missing');
    return { isForced, wallMs, authorities, replicas };
  } catch (cause) {
    throw new ReplicateError('REPLICATE_STATE', `${path} cannot be read`, {
      hint: 'Put it back; without it nobody knows who may write the volumes of the group.',
      cause,
    });
  }
}
