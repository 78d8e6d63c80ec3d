/** Sizes, rates and durations as people read them; bytes and milliseconds everywhere else. */

const unitLetters = 'KMGTPE';

/** `0 B`, `12.3 KiB`, `1.50 GiB`: three digits, so that columns of them compare at a glance. */
export function formatSize(bytes: number): string {
  let power = 0;
  let scaled = bytes;
  // 999.5 would be shown as 1000: the next unit says the same with three digits.
  while (scaled >= 999.5 && power < unitLetters.length) {
    scaled /= 1024;
    power += 1;
  }
  if (power === 0) return `${bytes} B`;
  return `${threeDigits(scaled)} ${unitLetters[power - 1]}iB`;
}

/** The way `parseSize` reads it, exact: `4K`, `1M`, `1000`. */
export function formatSizeExact(bytes: number): string {
  let power = 0;
  let scaled = bytes;
  while (scaled >= 1024 && scaled % 1024 === 0 && power < unitLetters.length) {
    scaled /= 1024;
    power += 1;
  }
  return `${scaled}${power === 0 ? '' : unitLetters[power - 1]}`;
}

export function formatRate(bytesPerS: number): string {
  return `${formatSize(Math.round(bytesPerS))}/s`;
}

/** `0.42 s`, `12.3 s`, `3:05`, `2:10:09`. */
export function formatDuration(ms: number): string {
  const seconds = ms / 1000;
  if (seconds < 59.95) return `${seconds < 9.995 ? seconds.toFixed(2) : seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const pair = (number: number) => String(number).padStart(2, '0');
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  const clock = `${hours > 0 ? pair(minutes) : minutes}:${pair(whole % 60)}`;
  return hours > 0 ? `${hours}:${clock}` : clock;
}

/** `45.2 %`; a share of nothing is 0. */
export function formatPercent(part: number, whole: number): string {
  return `${(whole === 0 ? 0 : (100 * part) / whole).toFixed(1)} %`;
}

function threeDigits(number: number): string {
  if (number < 9.995) return number.toFixed(2);
  return number < 99.95 ? number.toFixed(1) : number.toFixed(0);
}
