/** Finds blocks in words of 32 bits. */

/** The first bit in [from, end) that is `wanted`, or `end`. */
export function nextInWords(
  words: Uint32Array,
  from: number,
  end: number,
  wanted: boolean,
): number {
  const flip = wanted ? 0 : -1;
  for (let word = from >>> 5; word << 5 < end; word++) {
    let bits = words[word]! ^ flip;
    if (word === from >>> 5) bits &= -1 << (from & 31);
    if (bits !== 0) return Math.min(end, (word << 5) + 31 - Math.clz32(bits & -bits));
  }
  return end;
}
