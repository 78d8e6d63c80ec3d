/** The compressibility probe: a cheap guess that saves compressing what is compressed already. */

const SAMPLES = 4;
const SAMPLE_BYTES = 1024;

/** 4 KiB of random bytes come out at about 7.95; text, code and databases stay below 7.5. */
const RANDOM_BITS_PER_BYTE = 7.9;

const counts = new Uint32Array(256);

/**
 * True when four samples, spread evenly, look like random bytes by their order-0 entropy
 * (Shannon 1948). Only a guess: encrypted or compressed content passes, and so would a repeated
 * random block, which is then stored without the gain it could have had.
 */
export function looksIncompressible(bytes: Uint8Array): boolean {
  if (bytes.byteLength < SAMPLES * SAMPLE_BYTES) return false;
  counts.fill(0);
  const step = Math.floor((bytes.byteLength - SAMPLE_BYTES) / (SAMPLES - 1));
  for (let sample = 0; sample < SAMPLES; sample++) {
    const from = sample * step;
    for (let at = from; at < from + SAMPLE_BYTES; at++) {
      const value = bytes[at]!;
      counts[value] = counts[value]! + 1;
    }
  }
  const total = SAMPLES * SAMPLE_BYTES;
  let bits = 0;
  for (const count of counts) if (count !== 0) bits -= count * Math.log2(count / total);
  return bits / total > RANDOM_BITS_PER_BYTE;
}
