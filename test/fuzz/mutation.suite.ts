/** Changes to recorded bytes, drawn from a seed. */
import type { Draws } from '../../sim/index.ts';

/** Numbers at which programs go wrong. */
const awkward = [
  0,
  1,
  2,
  7,
  8,
  0x7f,
  0x80,
  0xff,
  0xffff,
  0x10000,
  2 ** 31 - 1,
  2 ** 31,
  2 ** 32 - 1,
];

/** A changed copy of `bytes`; `others` lend pieces. */
export function mutated(
  bytes: Uint8Array,
  others: readonly Uint8Array[],
  draws: Draws,
): Uint8Array {
  let list = [...bytes];
  const count = draws.pick([0, 1, 1, 1, 2, 3, 5, 8]);
  for (let done = 0; done < count; done += 1) list = mutateOnce(list, others, draws);
  return Uint8Array.from(list);
}

function mutateOnce(list: number[], others: readonly Uint8Array[], draws: Draws): number[] {
  const at = draws.below(list.length + 1);
  const length = 1 + draws.below(draws.pick([1, 4, 40, 400]));
  switch (draws.below(8)) {
    case 0:
      return list.toSpliced(at, 1, draws.below(256));
    case 1:
      return list.toSpliced(at, 1, (list[at] ?? 0) ^ (1 << draws.below(8)));
    case 2:
      return list.toSpliced(at, length);
    case 3:
      return list.toSpliced(at, 0, ...Array.from({ length }, () => draws.below(256)));
    case 4:
      return list.toSpliced(at, 0, ...list.slice(at, at + length));
    case 5: {
      const other = draws.pick(others);
      const from = draws.below(other.byteLength + 1);
      return list.toSpliced(at, draws.pick([0, length]), ...other.subarray(from, from + length));
    }
    case 6:
      return list.slice(0, at);
    default: {
      // Fields are aligned to 4 bytes behind a header of 16, 18 or 28 as often as not.
      const value = draws.pick(awkward);
      const place = draws.chance(0.5) ? at : at - (at % 4);
      return list.toSpliced(
        place,
        4,
        value >>> 24,
        (value >>> 16) & 255,
        (value >>> 8) & 255,
        value & 255,
      );
    }
  }
}

/** Cuts bytes where no sender would. */
export function fragments(bytes: Uint8Array, draws: Draws): Uint8Array[] {
  const longest = draws.pick([1, 20, 300, 5000, 1 << 20]);
  const parts: Uint8Array[] = [];
  for (let at = 0; at < bytes.byteLength; ) {
    const length = 1 + draws.below(longest);
    parts.push(bytes.slice(at, at + length));
    at += length;
  }
  return parts;
}
