/** Reversal: a promoted volume that has stopped, and is brought back to its agent. */
import { type FrameInput, isZero } from '../../../codec/index.ts';
import { type Env, type Extent, fromHex, SHA256_BYTES, sha256 } from '../../../core/index.ts';
import type { Device } from '../../../device/index.ts';
import type { Snapshot } from '../../../store/index.ts';
import {
  type AuthorityPrepare,
  type BlockData,
  type Entry,
  KIND_DATA,
  KIND_ZERO,
  type Read,
} from '../../../wire/index.ts';
import { protocolBreach, ReplicateError } from '../errors.ts';
import { frameOf } from '../frames.ts';
import { CHANGES_PER_PAGE, OFFER_BYTES } from '../limits.ts';
import type { ReverseAnswer } from '../requests.ts';
import { openPromoted, type PromotedVolume } from './promoted-volume.ts';
import type { Replica } from './replica.ts';

export class Reversal implements AsyncDisposable {
  readonly #replica: Replica;
  readonly #promoted: PromotedVolume;
  readonly answer: ReverseAnswer;

  /** From here on nobody writes to it. REPLICATE_NOT_PROMOTED; DEVICE_ACCESS while it is served. */
  static async begin(env: Env, replica: Replica): Promise<Reversal> {
    const { promotion } = replica.authority.state;
    // One that was interrupted is finished first.
    if (promotion?.snapshot === null) await replica.stand();
    const promoted = await openPromoted(env, replica.place).catch((error: unknown) => {
      throw inUse(replica.volume, error);
    });
    try {
      const { offer } = replica.authority.state;
      // Nobody has written since it was offered: it is what it was.
      const now = offer ? replica.hands.snapshotOf(offer) : await stored(replica, promoted);
      const nextEpoch = offer?.epoch ?? replica.seenEpoch + 1;
      return new Reversal(replica, promoted, { now, nextEpoch });
    } catch (error) {
      await promoted[Symbol.asyncDispose]();
      throw error;
    }
  }

  private constructor(
    replica: Replica,
    promoted: PromotedVolume,
    { now, nextEpoch }: { readonly now: Snapshot; readonly nextEpoch: number },
  ) {
    this.#replica = replica;
    this.#promoted = promoted;
    const { authority, promotion } = replica.authority.state;
    const { digest, id } = now;
    this.answer = { authority, epoch: promotion!.epoch, nextEpoch, digest, snapshot: id };
  }

  get device(): Device {
    return this.#promoted.device;
  }

  /** A page of what was written since the promotion, from `offsetBytes` on; empty at the end. */
  changes(offsetBytes: number): Extent[] {
    const page: Extent[] = [];
    for (const extent of this.#promoted.device.changedExtents(offsetBytes)) {
      page.push(extent);
      if (page.length === CHANGES_PER_PAGE) break;
    }
    return page;
  }

  async read({ request, volume, epoch, offsetBytes, lengthBytes }: Read): Promise<BlockData> {
    const { device } = this;
    if (offsetBytes + lengthBytes > device.sizeBytes) throw protocolBreach('a read behind the end');
    const bytes = new Uint8Array(lengthBytes);
    await device.read(bytes, offsetBytes);
    const entries: Entry[] = [];
    const inputs: FrameInput[] = [];
    for (let at = 0; at < lengthBytes; ) {
      const end = Math.min(lengthBytes, at + OFFER_BYTES - ((offsetBytes + at) % OFFER_BYTES));
      const part = bytes.subarray(at, end);
      const isEmpty = isZero(part);
      entries.push({
        ...{ offsetBytes: offsetBytes + at, lengthBytes: end - at, blockClass: 0, importance: 0 },
        ...(isEmpty
          ? { kind: KIND_ZERO, hash: undefined }
          : { kind: KIND_DATA, hash: sha256(part) }),
      });
      if (!isEmpty) inputs.push({ kind: 'plain', bytes: part });
      at = end;
    }
    return { volume, epoch, request, entries, frame: frameOf(inputs) };
  }

  /** Durably offered: whatever the agent answers, and whenever, is true afterwards. */
  async offer(volume: number): Promise<AuthorityPrepare> {
    const { authority, nextEpoch: epoch, snapshot, digest } = this.answer;
    await this.#replica.authority.offer({ snapshot, epoch });
    return { volume, authority, epoch, digest: fromHex(digest, SHA256_BYTES)! };
  }

  /** The agent writes on from what is here. */
  async taken(): Promise<void> {
    await this.#replica.giveBack();
    await this.#promoted.discard();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#promoted[Symbol.asyncDispose]();
  }
}

/** What is there now as a snapshot. */
async function stored(
  replica: Replica,
  { device, snapshot: parent }: PromotedVolume,
): Promise<Snapshot> {
  const changed = [...device.changedExtents()];
  return changed.length === 0 ? parent : await replica.store(device, { parent, changed });
}

function inUse(volume: string, cause: unknown): unknown {
  const { code } = cause as { code?: string };
  if (code !== 'DEVICE_ACCESS') return cause;
  return new ReplicateError('REPLICATE_BUSY', `${volume} is being served at the provider`, {
    hint: `Stop there what writes to it, and \`ferry export replica:${volume}\`.`,
    cause,
  });
}
