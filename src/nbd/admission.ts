/** Whether a connection may take one more request now: what it holds is bounded. */
import type { Budget } from './budget.ts';
import { COMMAND_BLOCK_STATUS, COMMAND_READ, COMMAND_WRITE } from './constants.ts';
import {
  DISCARD_BYTES_MAX,
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
  readonly #budget: Budget;
  readonly #statusHeldBytes: number;
  readonly #goOn: () => void;
  #statusJobs = 0;

  /** `goOn` is called once after a WAIT for memory that others hold. */
  constructor(replies: Replies, budget: Budget, contexts: number, goOn: () => void) {
    this.#replies = replies;
    this.#budget = budget;
    this.#statusHeldBytes = contexts * STATUS_HELD_BYTES;
    this.#goOn = goOn;
  }

  /** `jobs` requests wait for the device. */
  verdict({ command, lengthBytes }: Request, payloadBytes: number, jobs: number): number {
    if (payloadBytes > 0 && (command !== COMMAND_WRITE || payloadBytes > PAYLOAD_BYTES_MAX)) {
      return payloadBytes <= DISCARD_BYTES_MAX ? SKIP : HANG_UP;
    }
    if (this.#replies.outbox.isFull || jobs >= JOBS_MAX) return WAIT;
    let neededBytes = payloadBytes;
    if (command === COMMAND_READ) neededBytes = Math.min(lengthBytes, PAYLOAD_BYTES_MAX);
    else if (command === COMMAND_BLOCK_STATUS) {
      if (this.#statusJobs >= STATUS_JOBS_MAX) return WAIT;
      neededBytes = this.#statusHeldBytes;
    }
    const held = this.#replies.heldBytes;
    if (held > 0 && held + neededBytes > HELD_BYTES_MAX) return WAIT;
    if ((held > 0 || neededBytes > SMALL_BYTES) && !this.#budget.hasRoomFor(neededBytes)) {
      this.#budget.wait(this.#goOn);
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
}
