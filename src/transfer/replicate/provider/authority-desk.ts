/** One session's part in who writes: leases, moves to the provider, and the way back. */
import { type Env, hasCode, toHex } from '../../../core/index.ts';
import type { Device } from '../../../device/index.ts';
import {
  AUTHORITY_ABORT,
  AUTHORITY_COMMIT,
  AUTHORITY_PREPARE,
  type AuthorityPrepare,
  BLOCK_DATA,
  decodeAuthorityAbort,
  decodeAuthorityCommit,
  decodeAuthorityPrepare,
  decodeRead,
  encodeAuthorityAbort,
  encodeAuthorityCommit,
  encodeAuthorityPrepare,
  encodeBlockData,
  METADATA,
  PRIORITY_BACKGROUND,
  PRIORITY_CONTROL,
  READ,
} from '../../../wire/index.ts';
import { protocolBreach } from '../errors.ts';
import { encodeTold, type Request } from '../requests.ts';
import type { Promotions } from './promotions.ts';
import type { Replica } from './replica.ts';
import { Reversal } from './reversal.ts';

export type DeskOptions = {
  readonly env: Env;
  readonly promotions: Promotions;
  readonly replicaOf: (volume: number) => Replica;
  readonly send: (type: number, parts: readonly Uint8Array[], priority: number) => void;
};

export class AuthorityDesk implements AsyncDisposable {
  readonly #options: DeskOptions;
  readonly #reversals = new Map<number, Reversal>();

  constructor(options: DeskOptions) {
    this.#options = options;
  }

  /** What a promoted volume holds that is being brought back. */
  device(volume: number): Device | undefined {
    return this.#reversals.get(volume)?.device;
  }

  /** Undefined if it is nothing of this. */
  async answer(volume: number, request: Request) {
    const { env, promotions, replicaOf } = this.#options;
    const replica = replicaOf(volume);
    switch (request.ask) {
      case 'lease':
        promotions.renew(replica);
        return {};
      case 'reverse': {
        await this.#end(volume);
        const reversal = await Reversal.begin(env, replica);
        this.#reversals.set(volume, reversal);
        return { ...reversal.answer };
      }
      case 'changes':
        return { changes: this.#reversal(volume).changes(request.offsetBytes) };
      case 'offer': {
        const prepare = await this.#reversal(volume).offer(volume);
        this.#send(AUTHORITY_PREPARE, encodeAuthorityPrepare(prepare));
        return {};
      }
      default:
        return undefined;
    }
  }

  /** False if the message is of another kind. */
  async take(type: number, body: Uint8Array): Promise<boolean> {
    if (type === AUTHORITY_PREPARE) await this.#takeOver(decodeAuthorityPrepare(body));
    else if (type === AUTHORITY_COMMIT) {
      const { volume, authority } = decodeAuthorityCommit(body);
      const { state } = this.#options.replicaOf(volume).authority;
      if (state.promotion === undefined && state.authority === authority) return true;
      if (state.offer === undefined || authority !== state.highest) {
        throw protocolBreach(`authority ${authority} was not offered`);
      }
      await this.#reversal(volume).taken();
      this.#reversals.delete(volume);
    } else if (type === AUTHORITY_ABORT) {
      const { volume } = decodeAuthorityAbort(body);
      await this.#options.replicaOf(volume).authority.withdraw();
      await this.#end(volume);
    } else if (type === READ) {
      const read = decodeRead(body);
      const parts = encodeBlockData(await this.#reversal(read.volume).read(read));
      this.#options.send(BLOCK_DATA, parts, PRIORITY_BACKGROUND);
    } else return false;
    return true;
  }

  /** Has the agent offer its volume. */
  wishMove(volume: number): void {
    this.#send(METADATA, encodeTold({ volume, json: { request: 0, ask: 'move' } }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const volume of [...this.#reversals.keys()]) await this.#end(volume);
  }

  /** The agent has stopped: this side writes from here on, if it has the same. */
  async #takeOver({ volume, authority, epoch, digest }: AuthorityPrepare): Promise<void> {
    const replica = this.#options.replicaOf(volume);
    const { promotions } = this.#options;
    try {
      const taken = await promotions.takeOver(replica, { authority, epoch, digest: toHex(digest) });
      this.#send(
        AUTHORITY_COMMIT,
        encodeAuthorityCommit({ volume, authority: taken, epoch, digest }),
      );
    } catch (error) {
      // Then nobody may say that it was not taken: the agent asks when it comes again.
      const isDecided = hasCode(error, 'REPLICATE_JOURNAL_FAILED');
      if (isDecided || replica.authority.state.promotion !== undefined) throw error;
      const reason = promotions.refused(replica, error);
      this.#send(AUTHORITY_ABORT, encodeAuthorityAbort({ volume, authority, reason }));
    }
  }

  #reversal(volume: number): Reversal {
    const reversal = this.#reversals.get(volume);
    if (reversal !== undefined) return reversal;
    throw protocolBreach(`volume ${volume} is not being brought back`);
  }

  async #end(volume: number): Promise<void> {
    const reversal = this.#reversals.get(volume);
    this.#reversals.delete(volume);
    await reversal?.[Symbol.asyncDispose]();
  }

  #send(type: number, body: Uint8Array): void {
    this.#options.send(type, [body], PRIORITY_CONTROL);
  }
}
