/** Sizes as people write them: `4096`, `64K`, `1.5 GiB`. */

/** What `parseSize` takes, for messages and hints. */
export const SIZE_FORM =
  'a number of bytes below 2^53, or one with K, M, G, T or P (powers of 1024), such as 64K or 1.5G';

const unitLetters = 'KMGTP';
const written = /^(\d{1,16}(?:\.\d{1,9})?)\s?([KMGTP])?(?:i?B)?$/i;

/** Bytes, or undefined for what is no size, gives no whole number of bytes, or is 2^53 or more. */
export function parseSize(text: string): number | undefined {
  const match = written.exec(text.trim());
  if (match === null) return undefined;
  const power = match[2] === undefined ? 0 : unitLetters.indexOf(match[2].toUpperCase()) + 1;
  const bytes = Number(match[1]) * 1024 ** power;
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}
