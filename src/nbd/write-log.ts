/** What a server has acknowledged and not yet made durable, kept to be written again. */
import { COMMAND_WRITE, FLAG_FUA } from './constants.ts';
import { WRITE_LOG_BYTES_MAX, WRITE_LOG_ENTRIES_MAX } from './limits.ts';
import { Operation } from './operation.ts';

export type WriteLogLimits = { readonly bytesMax: number; readonly entriesMax: number };

type Entry = {
  readonly command: number;
  readonly flags: number;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly source: Uint8Array | undefined;
};

/**
 * In the order of acknowledgement: where two entries overlap, the second was submitted after the
 * first had settled, or their order was nobody's business.
 */
export class WriteLog {
  readonly #limits: WriteLogLimits;
  #entries: Entry[] = [];
  /** Entries that were forgotten: the first one's number. */
  #first = 0;
  #bytes = 0;

  constructor(limits?: WriteLogLimits) {
    this.#limits = limits ?? { bytesMax: WRITE_LOG_BYTES_MAX, entriesMax: WRITE_LOG_ENTRIES_MAX };
  }

  get isEmpty(): boolean {
    return this.#entries.length === 0;
  }

  /** Time to flush: then the log is empty before it is full. */
  get isHalfFull(): boolean {
    const { bytesMax, entriesMax } = this.#limits;
    return this.#bytes * 2 >= bytesMax || this.#entries.length * 2 >= entriesMax;
  }

  get isFull(): boolean {
    const { bytesMax, entriesMax } = this.#limits;
    return this.#bytes >= bytesMax || this.#entries.length >= entriesMax;
  }

  /** Copies what was written. */
  add({ command, flags, offsetBytes, lengthBytes, source }: Operation): void {
    // Durable already; but behind older writes it must be repeated, or they would undo it.
    if ((flags & FLAG_FUA) !== 0 && this.isEmpty) return;
    const copy = command === COMMAND_WRITE ? source?.slice() : undefined;
    this.#entries.push({ command, flags, offsetBytes, lengthBytes, source: copy });
    this.#bytes += copy?.byteLength ?? 0;
  }

  /** To be taken before a flush is sent, and passed to `forget` when it has succeeded. */
  mark(): number {
    return this.#first + this.#entries.length;
  }

  forget(mark: number): void {
    const gone = this.#entries.splice(0, Math.max(0, mark - this.#first));
    this.#first += gone.length;
    for (const { source } of gone) this.#bytes -= source?.byteLength ?? 0;
  }

  /** Runs of entries that do not overlap within a run: each may be in flight at once. */
  *runs(lengthMax: number): Generator<Operation[]> {
    let run: Operation[] = [];
    for (const { source, ...rest } of [...this.#entries]) {
      const end = rest.offsetBytes + rest.lengthBytes;
      const overlaps = run.some(
        (other) =>
          rest.offsetBytes < other.offsetBytes + other.lengthBytes && other.offsetBytes < end,
      );
      if (overlaps || run.length >= lengthMax) {
        yield run;
        run = [];
      }
      run.push(new Operation(source === undefined ? rest : { ...rest, source }));
    }
    if (run.length > 0) yield run;
  }
}
