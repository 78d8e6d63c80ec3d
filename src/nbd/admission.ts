/** Whether a connection may take one more request now: what it holds is bounded. */
import type { Shared } from './agreement.ts';
import { COMMAND_BLOCK_STATUS, COMMAND_READ, COMMAND_WRITE } from './constants.ts';
import {
  DISCARD_BYTES_MAX,
  EFFECT_BYTES_PER_TURN,
  HELD_BYTES_MAX,
  JOBS_MAX,
  PAYLOAD_BYTES_MAX,
  STATUS_HELD_BYTES,
  STATUS_JOBS_MAX,
} from './limits.ts';
import type { Replies } from './replies.ts';
import { ADMIT, HANG_UP, type Request, SKIP, WAIT } from './request-codec.ts';

/** A request of so little is always taken from a connection that holds nothing. */
const SMALL_BYTES = 256 * 1024;

export class Admission {
  readonly #replies: Replies;
  readonly #shared: Shared;
  readonly #statusHeldBytes: number;
  readonly #goOn: () => void;
  #statusJobs = 0;
  #effectBytes = 0;
  #isResting = false;

  /** `goOn` is called once after a WAIT for what others hold or do. */
  constructor(replies: Replies, shared: Shared, contexts: number, goOn: () => void) {
    this.#replies = replies;
    this.#shared = shared;
    this.#statusHeldBytes = contexts * STATUS_HELD_BYTES;
    this.#goOn = goOn;
  }

  /** `jobs` requests wait for the device. */
  verdict({ command, lengthBytes }: Request, payloadBytes: number, jobs: number): number {
    if (payloadBytes > 0 && (command !== COMMAND_WRITE || payloadBytes > PAYLOAD_BYTES_MAX)) {
      return payloadBytes <= DISCARD_BYTES_MAX ? SKIP : HANG_UP;
    }
    if (this.#replies.outbox.isFull || jobs >= JOBS_MAX || this.#isResting) return WAIT;
    let neededBytes = payloadBytes;
    if (command === COMMAND_READ) neededBytes = Math.min(lengthBytes, PAYLOAD_BYTES_MAX);
    else if (command === COMMAND_BLOCK_STATUS) {
      if (this.#statusJobs >= STATUS_JOBS_MAX) return WAIT;
      neededBytes = this.#statusHeldBytes;
    }
    const held = this.#replies.heldBytes;
    if (held > 0 && held + neededBytes > HELD_BYTES_MAX) return WAIT;
    const { budget } = this.#shared;
    if ((held > 0 || neededBytes > SMALL_BYTES) && !budget.hasRoomFor(neededBytes)) {
      budget.wait(this.#goOn);
      return WAIT;
    }
    return ADMIT;
  }

  /** A BLOCK_STATUS request is being answered, until `endStatus`. */
  beginStatus(): void {
    this.#statusJobs += 1;
    this.#replies.hold(this.#statusHeldBytes);
  }

  endStatus(): void {
    this.#statusJobs -= 1;
    this.#replies.release(this.#statusHeldBytes);
  }

  /**
   * Zeroes and trims are short to ask for and long to do, and some devices do them at once: after
   * so much of them the others get their turn.
   */
  countEffect(lengthBytes: number): void {
    this.#effectBytes += lengthBytes;
    if (this.#effectBytes < EFFECT_BYTES_PER_TURN || this.#isResting) return;
    this.#isResting = true;
    this.#shared.clock.after(0, () => {
      this.#isResting = false;
      this.#effectBytes = 0;
      this.#goOn();
    });
  }
}
