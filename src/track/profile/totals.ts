/** Sums over the whole volume, which decay, and the number of all requests ever, which does not. */
import { type Kind, READS, WRITES } from './sketch.ts';

const SEQUENTIAL_READS = 2;
const READ_BYTES = 4;
const FIELDS = 6;

export class Totals {
  /** Reads, writes, those of each that were sequential, bytes of each. */
  readonly sums = new Float64Array(FIELDS);
  requestCount = 0;

  add(kind: Kind, lengthBytes: number, isSequential: boolean, weight: number): void {
    this.requestCount++;
    this.sums[kind]! += weight;
    if (isSequential) this.sums[SEQUENTIAL_READS + kind]! += weight;
    this.sums[READ_BYTES + kind]! += weight * lengthBytes;
  }

  scale(factor: number): void {
    for (let at = 0; at < FIELDS; at++) this.sums[at]! *= factor;
  }

  decayed(weight: number) {
    const [reads, writes] = [this.sums[READS]!, this.sums[WRITES]!];
    return {
      reads: reads / weight,
      writes: writes / weight,
      readBytes: this.sums[READ_BYTES]! / weight,
      writtenBytes: this.sums[READ_BYTES + WRITES]! / weight,
      sequentialReadShare: shareOf(this.sums[SEQUENTIAL_READS]!, reads),
      sequentialWriteShare: shareOf(this.sums[SEQUENTIAL_READS + WRITES]!, writes),
    };
  }
}

function shareOf(part: number, whole: number): number {
  return whole > 0 ? part / whole : 0;
}
