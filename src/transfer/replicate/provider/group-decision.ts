/** The decision of a group: that an epoch of it counts, in a durable file while that is asked. */
import {
  type Env,
  Gate,
  readStateFile,
  replaceStateFile,
  sha256,
  toHex,
  unlessMissing,
} from '../../../core/index.ts';
import type { EpochGroup } from '../epoch-group.ts';
import { ReplicateError } from '../errors.ts';
import { GROUP_TEXT_BYTES_MAX } from '../limits.ts';

/** Two agents may call their groups alike, and so may one: of other members it is another group. */
export type Decision = {
  readonly owner: string;
  readonly group: EpochGroup;
  readonly epoch: number;
};

const FOLDER = 'groups';
const BYTES_MAX = GROUP_TEXT_BYTES_MAX + 1024;

export class Decisions {
  readonly #env: Env;
  readonly #directory: string;
  /** What is written once more must not pass by what is decided meanwhile. */
  readonly #turn = new Gate({ limit: 1 });

  /** `directory`: of the provider; exists. */
  constructor(env: Env, directory: string) {
    this.#env = env;
    this.#directory = directory;
  }

  /**
   * From here on the epoch is the state of every member whose journal calls it ready. Members never
   * see a number twice, so that the last one says it all: each makes its commit durable before
   * another one of the group is decided.
   */
  decide(decision: Decision): Promise<void> {
    return this.#turn.run(() => this.#write(decision));
  }

  /** Every member's commit is durable: none will ask. What a power cut brings back is true. */
  forget(decision: Decision): Promise<void> {
    return this.#turn.run(async () => {
      await unlessMissing(this.#env.files.remove(await this.#pathOf(decision)));
    });
  }

  /** Whether that epoch is the last one that was decided. */
  isDecided(decision: Decision): Promise<boolean> {
    return this.#turn.run(async () => {
      if ((await read(this.#env, await this.#pathOf(decision))) !== decision.epoch) return false;
      // Once more: what an earlier life could not make durable can be read, and lost later.
      await this.#write(decision);
      return true;
    });
  }

  async #write(decision: Decision): Promise<void> {
    const { owner, epoch, group } = decision;
    const path = await this.#pathOf(decision);
    const { name, members } = group;
    const text = `${JSON.stringify({ version: 1, owner, group: name, members, epoch })}\n`;
    await replaceStateFile(this.#env, path, new TextEncoder().encode(text));
  }

  #pathOf({ owner, group }: Decision): Promise<string> {
    return groupFile(this.#env, this.#directory, { owner, group, ending: 'json' });
  }
}

type FileOfGroup = Pick<Decision, 'owner' | 'group'> & { readonly ending: string };

/** A path of a group's own, in a folder that is there then. */
export async function groupFile(
  { files }: Env,
  directory: string,
  { owner, group, ending }: FileOfGroup,
): Promise<string> {
  await files.makeDirectory(`${directory}/${FOLDER}`);
  await files.syncDirectory(directory);
  const key = new TextEncoder().encode(JSON.stringify([owner, group.name, group.members]));
  return `${directory}/${FOLDER}/${toHex(sha256(key)).slice(0, 32)}.${ending}`;
}

async function read(env: Env, path: string): Promise<number | undefined> {
  const bytes = await readStateFile(env, path, BYTES_MAX);
  if (bytes === undefined) return undefined;
  try {
    const { version, epoch } = JSON.parse(new TextDecoder().decode(bytes));
    if (version !== 1 || !Number.isSafeInteger(epoch)) throw new TypeError('no number');
    return epoch;
  } catch (cause) {
    throw new ReplicateError('REPLICATE_STATE', `${path} cannot be read`, {
      hint: 'Put it back; without it nobody knows whether the last epoch of the group counts.',
      cause,
    });
  }
}
