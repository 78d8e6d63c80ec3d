/** A stream of a file as one whole, wherever its pieces lie. */
import { partitionPoint } from '../../core/index.ts';
import type { Device } from '../../device/index.ts';
import { damaged, tooMuch, unsupported } from '../errors.ts';
import { Fields } from '../fields.ts';
import { readInto } from '../read-bytes.ts';
import { PIECE_BYTES, STREAM_RUNS_MAX } from './limits.ts';
import type { NtfsAttribute } from './record.ts';
import type { NtfsRun } from './runs.ts';

export class NtfsStream {
  readonly what: string;
  readonly #device: Device;
  readonly #clusterBytes: number;
  #value: Fields | undefined;
  #dataBytes = 0;
  #initializedBytes = 0;
  #isCompressed = false;
  readonly #runs: NtfsRun[] = [];

  constructor(device: Device, clusterBytes: number, what: string) {
    this.what = what;
    this.#device = device;
    this.#clusterBytes = clusterBytes;
  }

  get dataBytes(): number {
    return this.#dataBytes;
  }

  /** Ascending without a gap; none if it lies in its record. */
  get runs(): readonly NtfsRun[] {
    return this.#runs;
  }

  /** Pieces must come in their order; how much of it there is, is said in the first one. */
  add({ value, piece, isCompressed }: NtfsAttribute): void {
    const wanted = this.#endVcn;
    if (value !== undefined) {
      if (this.#value !== undefined || wanted > 0) throw damaged(`${this.what} is there twice`);
      this.#value = value;
      this.#dataBytes = value.length;
      return;
    }
    const { runs, firstVcn, dataBytes, initializedBytes } = piece!;
    if (this.#value !== undefined || firstVcn !== wanted) {
      throw damaged(`${this.what}: a piece at cluster ${firstVcn}, not at ${wanted}`);
    }
    if (firstVcn === 0) {
      this.#dataBytes = dataBytes;
      this.#initializedBytes = initializedBytes;
      this.#isCompressed = isCompressed;
    }
    if (this.#runs.length + runs.length > STREAM_RUNS_MAX) {
      throw tooMuch(`${this.what} has more than ${STREAM_RUNS_MAX} pieces`);
    }
    for (const run of runs) this.#runs.push(run);
  }

  /** Of `lengthBytes` bytes; FS_DAMAGED if its end is before that. */
  async read(offsetBytes: number, lengthBytes: number): Promise<Fields> {
    if (offsetBytes + lengthBytes > this.#dataBytes) {
      throw damaged(`${this.what}: ${lengthBytes} bytes at ${offsetBytes} of ${this.#dataBytes}`);
    }
    if (lengthBytes > PIECE_BYTES) throw tooMuch(`${this.what}: ${lengthBytes} bytes at once`);
    if (this.#value !== undefined) {
      const bytes = this.#value.take(offsetBytes, lengthBytes).slice();
      return new Fields(bytes, this.what, 'little');
    }
    if (this.#isCompressed) throw unsupported(`${this.what} is compressed`);
    const target = new Uint8Array(lengthBytes);
    const end = Math.min(offsetBytes + lengthBytes, this.#initializedBytes);
    for (let at = offsetBytes; at < end; ) {
      const vcn = Math.floor(at / this.#clusterBytes);
      const { vcn: from, cluster, count } = this.#runAt(vcn);
      const until = Math.min(end, (from + count) * this.#clusterBytes);
      if (cluster !== undefined) {
        const inRun = at - from * this.#clusterBytes;
        const place = { offsetBytes: cluster * this.#clusterBytes + inRun, what: this.what };
        const part = target.subarray(at - offsetBytes, until - offsetBytes);
        await readInto(this.#device, part, { ...place, lengthBytes: part.length });
      }
      at = until;
    }
    return new Fields(target, this.what, 'little');
  }

  get #endVcn(): number {
    const last = this.#runs.at(-1);
    return last === undefined ? 0 : last.vcn + last.count;
  }

  #runAt(vcn: number): NtfsRun {
    if (vcn >= this.#endVcn) throw damaged(`${this.what}: cluster ${vcn} is nowhere`);
    const runs = this.#runs;
    return runs[partitionPoint(runs.length, (at) => runs[at]!.vcn <= vcn) - 1]!;
  }
}
