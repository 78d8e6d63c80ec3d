/** The lanes of a session: which there are, which carry data, and each one's credit. */
import { Credit } from './credit.ts';
import { limitError } from './errors.ts';
import type { Header } from './header.ts';
import type { Lane, LaneKind } from './lane.ts';
import { LANES_MAX } from './limits.ts';
import type { Credit as ToldCredit } from './messages/index.ts';

export const CONTROL_ID = 0;

export type LaneState = {
  readonly lane: Lane;
  /** What this side grants the peer. */
  readonly credit: Credit;
  /** What this side has sent, and may send. */
  sentBytes: number;
  limitBytes: number;
  /** Bytes of bodies that went by it and are acknowledged. */
  acknowledgedBytes: number;
};

export class LaneTable {
  #states = new Map<number, LaneState>();
  #carriers: readonly Lane[] = [];
  /** Bodies that came, in the life of the session. */
  readonly receivedBytes: Partial<Record<LaneKind, number>> = {};

  get all(): readonly Lane[] {
    return [...this.#states.values()].map(({ lane }) => lane);
  }

  get control(): Lane | undefined {
    return this.#states.get(CONTROL_ID)?.lane;
  }

  /** Those that carry data now; without any the control lane does. */
  get carriers(): readonly Lane[] {
    return this.#carriers;
  }

  get credits(): ReadonlyMap<number, Credit> {
    return new Map([...this.#states].map(([id, { credit }]) => [id, credit]));
  }

  add(lane: Lane, limitBytes: number): void {
    if (this.#states.size >= LANES_MAX) throw limitError(`more than ${LANES_MAX} lanes`);
    const counts = { sentBytes: 0, limitBytes, acknowledgedBytes: 0 };
    this.#states.set(lane.id, { lane, credit: new Credit(), ...counts });
  }

  /** Undefined for a lane that is not part of the session any more. */
  of(lane: Lane): LaneState | undefined {
    const state = this.#states.get(lane.id);
    return state?.lane === lane ? state : undefined;
  }

  byId(id: number): LaneState | undefined {
    return this.#states.get(id);
  }

  use(lanes: readonly Lane[]): void {
    this.#carriers = lanes.filter((lane) => this.of(lane) !== undefined);
  }

  carries(lane: Lane): boolean {
    if (this.#carriers.length === 0) return lane.id === CONTROL_ID;
    return this.#carriers.includes(lane);
  }

  /** Counts a message that came by the lane; answers the credit that it used. */
  came(lane: Lane, { bodyBytes }: Header): Credit {
    this.receivedBytes[lane.kind] = (this.receivedBytes[lane.kind] ?? 0) + bodyBytes;
    return this.of(lane)!.credit;
  }

  grant(credits: readonly ToldCredit[]): void {
    for (const { laneId, limitBytes } of credits) {
      const state = this.#states.get(laneId);
      if (state !== undefined) state.limitBytes = Math.max(state.limitBytes, limitBytes);
    }
  }

  remove(lane: Lane): void {
    this.#states.delete(lane.id);
    this.#carriers = this.#carriers.filter((other) => other !== lane);
  }

  /** Forgets all, and then ends them, so that nothing that they say is heard. */
  clear(error: unknown): void {
    const states = this.#states;
    this.#states = new Map();
    this.#carriers = [];
    for (const { lane } of states.values()) lane.destroy(error);
  }
}
