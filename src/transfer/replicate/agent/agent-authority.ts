/** Whether this node may write a volume, and under which authority; durable. */
import {
  type Env,
  Gate,
  readStateFile,
  replaceStateFile,
  type StateFolder,
} from '../../../core/index.ts';
import { ReplicateError } from '../errors.ts';

export type Standing = {
  readonly authority: number;
  /**
   * `stopped`: it has offered the volume to a provider, and must not write before it knows what
   * became of that. `fenced`: another side writes, under a higher authority.
   */
  readonly role: 'writes' | 'stopped' | 'fenced';
  /** The replica to which a stopped one was offered, or that has fenced it. */
  readonly offeredTo?: string | undefined;
  /** Nothing was written here after that epoch. */
  readonly isClean?: boolean | undefined;
  /** Of the side that writes; what is written here counts no more. */
  readonly by?: number | undefined;
  /** The last epoch that both sides have. */
  readonly epoch?: number | undefined;
  /** The volume at the provider that keeps what was written here after that epoch. */
  readonly branch?: string | undefined;
  readonly isBranchKept?: boolean | undefined;
};

export type Fence = {
  readonly by: number;
  readonly epoch: number;
  readonly replica: string;
  /** It was handed over, and nothing was written after that. */
  readonly isClean: boolean;
};

const BYTES_MAX = 16 * 1024;
const first: Standing = { authority: 1, role: 'writes' };

export class AgentAuthority {
  readonly volume: string;
  readonly #env: Env;
  readonly #folder: StateFolder;
  #standing: Standing;
  readonly #turn = new Gate({ limit: 1 });

  /** REPLICATE_STATE. */
  static async open(env: Env, folder: StateFolder, volume: string): Promise<AgentAuthority> {
    const standing = await read(env, `${folder.directory}/${volume}.json`);
    const opened = new AgentAuthority(env, { folder, volume }, standing ?? first);
    // Once more: what an earlier life could not make durable can be read, and lost later.
    if (standing !== undefined) await opened.#save(standing);
    return opened;
  }

  private constructor(
    env: Env,
    { folder, volume }: { folder: StateFolder; volume: string },
    standing: Standing,
  ) {
    this.#env = env;
    this.#folder = folder;
    this.volume = volume;
    this.#standing = standing;
  }

  get standing(): Standing {
    return this.#standing;
  }

  /** REPLICATE_FENCED unless this node may write. */
  check(): void {
    if (this.#standing.role !== 'writes') throw this.refusal();
  }

  /** What is here counts no more, and nothing of it is only here. */
  get mayBeOverwritten(): boolean {
    const { role, isClean, isBranchKept } = this.#standing;
    return role === 'fenced' && (isClean === true || isBranchKept === true);
  }

  /** It has stopped, and is about to offer the volume to that replica. */
  stop(replica: string): Promise<void> {
    return this.#change((standing) => {
      if (standing.role !== 'writes') throw this.refusal();
      return { ...standing, role: 'stopped', offeredTo: replica };
    });
  }

  /** Nobody took it: this node goes on. */
  resume(): Promise<void> {
    return this.#change(({ role, authority }) =>
      role === 'stopped' ? { authority, role: 'writes' } : undefined,
    );
  }

  /** Another side writes. */
  fence({ by, epoch, replica, isClean }: Fence): Promise<void> {
    return this.#change(({ role, authority, by: known }) => {
      if (role === 'fenced' && known === by) return undefined;
      return { authority, role: 'fenced', by, epoch, offeredTo: replica, isClean };
    });
  }

  /** The provider has an older epoch than when it fenced this node: nothing is surely there. */
  doubt(epoch: number): Promise<void> {
    return this.#change((standing) => ({
      ...standing,
      epoch,
      isClean: false,
      isBranchKept: false,
    }));
  }

  clean(): Promise<void> {
    return this.#change((standing) => ({ ...standing, isClean: true }));
  }

  /** What was written after the fence was set is to be kept under that name, or is kept. */
  branch(branch: string, isBranchKept: boolean): Promise<void> {
    return this.#change((standing) => ({ ...standing, branch, isBranchKept }));
  }

  /** This node writes again. */
  take(authority: number): Promise<void> {
    return this.#change(() => ({ authority, role: 'writes' }));
  }

  refusal(): ReplicateError {
    const { volume } = this;
    const { role, by, branch, isBranchKept } = this.#standing;
    if (role === 'stopped') {
      const message = `${volume} was offered to its provider, and nobody knows yet who writes it`;
      return new ReplicateError('REPLICATE_FENCED', message, {
        hint: 'Replicate it as before (`ferry export --to`): the provider tells who does.',
      });
    }
    const kept =
      branch === undefined
        ? ''
        : isBranchKept === true
          ? `; what was written here meanwhile is kept there as ${branch}`
          : `; what was written here meanwhile is not kept there yet`;
    const message = `${volume} is written elsewhere, under authority ${by}${kept}`;
    return new ReplicateError('REPLICATE_FENCED', message, {
      hint: [
        `Stop what writes it there, and bring it back here with \`ferry replicate SOURCE --name`,
        `${volume} --to PROVIDER --reverse\`; \`--read-only\` serves it as it is.`,
      ].join(' '),
    });
  }

  /** One after the other: several providers may have something to say. */
  #change(decide: (standing: Standing) => Standing | undefined): Promise<void> {
    return this.#turn.run(async () => {
      const next = decide(this.#standing);
      if (next !== undefined) await this.#save(next);
    });
  }

  async #save(standing: Standing): Promise<void> {
    await this.#folder.makeDirectory();
    const path = `${this.#folder.directory}/${this.volume}.json`;
    const text = `${JSON.stringify({ version: 1, ...standing })}\n`;
    await replaceStateFile(this.#env, path, new TextEncoder().encode(text));
    this.#standing = standing;
  }
}

async function read(env: Env, path: string): Promise<Standing | undefined> {
  const bytes = await readStateFile(env, path, BYTES_MAX);
  if (bytes === undefined) return undefined;
  try {
    const { version, ...standing } = JSON.parse(new TextDecoder().decode(bytes));
    const { authority, role } = standing;
    const isKnown = ['writes', 'stopped', 'fenced'].includes(role);
    if (version !== 1 || !Number.isSafeInteger(authority) || !isKnown) throw new TypeError(role);
    return standing;
  } catch (cause) {
    throw new ReplicateError('REPLICATE_STATE', `${path} cannot be read`, {
      hint: 'Put it back; without it nobody knows whether this node may write the volume.',
      cause,
    });
  }
}
