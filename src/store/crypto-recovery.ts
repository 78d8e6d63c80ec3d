/** The recovery form: the master key as text that can be printed and typed, with a check. */
import { equalBytes, sha256 } from '../core/index.ts';
import { MASTER_KEY_BYTES } from './crypto-keys.ts';
import { StoreError } from './errors.ts';

/** RFC 4648, section 6: no digits that look like letters. */
const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
const CHECK_BYTES = 3;
const GROUP = 4;
const FORM_LINE = /^\s*([A-Z2-7]{4}-)+[A-Z2-7]{4}\s*$/i;

/** 56 letters and digits in groups of four. */
export function recoveryForm(master: Uint8Array): string {
  const bytes = new Uint8Array(MASTER_KEY_BYTES + CHECK_BYTES);
  bytes.set(master);
  bytes.set(checkOf(master), MASTER_KEY_BYTES);
  let text = '';
  let bits = 0;
  let value = 0;
  for (const byte of bytes) {
    value = (value << 8) | byte;
    for (bits += 8; bits >= 5; bits -= 5) text += ALPHABET[(value >>> (bits - 5)) & 31];
    value &= 31;
  }
  return text.match(new RegExp(`.{${GROUP}}`, 'g'))!.join('-');
}

/** The master key; STORE_WRONG_PASSWORD if a letter is wrong or missing. */
export function parseRecoveryForm(form: string): Uint8Array {
  // Of a whole printed page, the lines that are the form.
  const lines = form.split('\n').filter((line) => FORM_LINE.test(line));
  const letters = (lines.length > 0 ? lines.join('') : form).toUpperCase().replace(/[\s-]/g, '');
  const bytes = new Uint8Array(MASTER_KEY_BYTES + CHECK_BYTES);
  const whole = letters.length === Math.ceil((bytes.byteLength * 8) / 5);
  if (!whole || [...letters].some((letter) => !ALPHABET.includes(letter))) throw mistyped();
  let bits = 0;
  let value = 0;
  let at = 0;
  for (const letter of letters) {
    value = ((value << 5) | ALPHABET.indexOf(letter)) & 0xffff;
    bits += 5;
    if (bits < 8) continue;
    bits -= 8;
    bytes[at++] = value >>> bits;
  }
  const master = bytes.subarray(0, MASTER_KEY_BYTES);
  if (!equalBytes(checkOf(master), bytes.subarray(MASTER_KEY_BYTES))) throw mistyped();
  return new Uint8Array(master);
}

function checkOf(master: Uint8Array): Uint8Array {
  const label = new TextEncoder().encode('blockferry 1 recovery\n');
  return sha256(new Uint8Array(Buffer.concat([label, master]))).subarray(0, CHECK_BYTES);
}

function mistyped(): StoreError {
  return new StoreError('STORE_WRONG_PASSWORD', 'this is not a recovery form, or not all of it', {
    hint: 'It has 56 letters and digits from A to Z and 2 to 7; spaces and hyphens do not count.',
  });
}
