/** Mapping pairs: where the clusters of an attribute lie. */
import { damaged } from '../errors.ts';
import type { Fields } from '../fields.ts';

/** `cluster` undefined: a hole. */
export type NtfsRun = {
  readonly vcn: number;
  readonly cluster: number | undefined;
  readonly count: number;
};

export type MappingPairs = {
  readonly fields: Fields;
  readonly at: number;
  readonly firstVcn: number;
  /** One more than the last. */
  readonly endVcn: number;
  /** Of the volume. */
  readonly clusterCount: number;
};

/** Ascending without a gap, from the first number to the last one of the attribute's piece. */
export function runsOf({ fields, at, firstVcn, endVcn, clusterCount }: MappingPairs): NtfsRun[] {
  const runs: NtfsRun[] = [];
  let vcn = firstVcn;
  let cluster = 0;
  for (let place = at; vcn < endVcn; ) {
    const header = fields.u8(place);
    const countBytes = header & 0xf;
    const moveBytes = header >>> 4;
    if (header === 0) break;
    const count = signed(fields, place + 1, countBytes);
    if (!(count > 0) || vcn + count > endVcn) {
      throw damaged(`${fields.what}: ${count} clusters where ${endVcn - vcn} are left`);
    }
    if (moveBytes === 0) runs.push({ vcn, cluster: undefined, count });
    else {
      cluster += signed(fields, place + 1 + countBytes, moveBytes);
      if (!(cluster >= 0 && cluster + count <= clusterCount)) {
        throw damaged(`${fields.what}: ${count} clusters at ${cluster} of ${clusterCount}`);
      }
      runs.push({ vcn, cluster, count });
    }
    vcn += count;
    place += 1 + countBytes + moveBytes;
  }
  if (vcn !== endVcn) throw damaged(`${fields.what}: clusters ${vcn} to ${endVcn} are nowhere`);
  return runs;
}

/** Of as many bytes as it has; NaN if there are none, or if it exceeds 2^53. */
function signed(fields: Fields, at: number, lengthBytes: number): number {
  const bytes = fields.take(at, lengthBytes);
  if (lengthBytes === 0 || lengthBytes > 8) return Number.NaN;
  let value = (bytes[lengthBytes - 1]! << 24) >> 24;
  for (let index = lengthBytes - 2; index >= 0; index--) value = value * 256 + bytes[index]!;
  return Number.isSafeInteger(value) ? value : Number.NaN;
}
