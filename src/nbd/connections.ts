/** The connections of one thread, wherever they were accepted: counts, serves and ends them. */
import type { Env, Stream, Timer } from '../core/index.ts';
import type { Shared } from './agreement.ts';
import { Budget } from './budget.ts';
import { Connection } from './connection.ts';
import { type Exports, ExportTable, type Guard } from './exports.ts';
import { JobPool } from './jobs.ts';
import { SERVER_HELD_BYTES_MAX } from './limits.ts';
import { SlabPool } from './slabs.ts';
import { type ServerTls, type ServeTlsOptions, serverTls } from './tls.ts';

/** Between two looks at clients that hold memory others wait for. */
const SWEEP_MS = 10_000;

export type ConnectionsOptions = {
  readonly exports: Exports;
  readonly heldBytesMax?: number | undefined;
  readonly tls?: ServeTlsOptions | undefined;
  readonly guard?: Guard;
};

export class Connections {
  readonly #env: Env;
  readonly #table: ExportTable;
  readonly #shared: Shared;
  readonly #tls: ServerTls | undefined;
  readonly #open = new Set<Connection>();
  #sweep: Timer | undefined;
  #closing: Promise<void> | undefined;

  /** Fails with ENV_TLS if the credentials are unusable. */
  constructor(env: Env, { exports, heldBytesMax, tls, guard }: ConnectionsOptions) {
    this.#env = env;
    this.#table = new ExportTable(exports, guard);
    const budget = new Budget(heldBytesMax ?? SERVER_HELD_BYTES_MAX);
    this.#tls = tls && serverTls(env.net, tls);
    this.#shared = { slabs: new SlabPool(), jobs: new JobPool(), budget, clock: env.clock };
  }

  get count(): number {
    return this.#open.size;
  }

  /** Resolves when the connection has ended, with what went wrong if anything did. */
  async serve(stream: Stream): Promise<unknown> {
    const connection = new Connection(this.#env, stream, this.#table, this.#shared, this.#tls);
    if (this.#closing !== undefined) {
      connection.refuse();
      return undefined;
    }
    this.#open.add(connection);
    if (this.#sweep === undefined) this.#armSweep();
    const trouble = await connection.run();
    this.#open.delete(connection);
    if (this.count === 0) this.#disarmSweep();
    return trouble;
  }

  /** While somebody waits for memory, clients that hold some and stand still are cut off. */
  #armSweep(): void {
    this.#sweep = this.#env.clock.after(SWEEP_MS, () => {
      for (const connection of this.#open) {
        connection.checkProgress(this.#shared.budget.isContended);
      }
      this.#armSweep();
    });
  }

  #disarmSweep(): void {
    this.#sweep?.cancel();
    this.#sweep = undefined;
  }

  /** Answers what is in flight, flushes what had clients; cuts off what has not ended in time. */
  close(timeoutMs: number): Promise<void> {
    this.#closing ??= this.#close(timeoutMs);
    return this.#closing;
  }

  async #close(timeoutMs: number): Promise<void> {
    this.#disarmSweep();
    const deadline = this.#env.clock.after(timeoutMs, () => {
      for (const connection of this.#open) connection.cutOff();
    });
    await Promise.all([...this.#open].map((connection) => connection.stop()));
    deadline.cancel();
  }
}
