/** Update sequences: each sector of a structure ends in a number that tells a torn write. */
import { damaged } from '../errors.ts';
import { Fields } from '../fields.ts';

const STRIDE_BYTES = 512;

/**
 * The structure with the true ends of its sectors; its bytes are changed in place. FS_DAMAGED if it
 * is another one, or if a sector is of another write than the others.
 */
export function fixedUp(bytes: Uint8Array, magic: string, what: string): Fields {
  const fields = new Fields(bytes, what, 'little');
  const found = String.fromCharCode(...fields.take(0, 4));
  if (found !== magic) throw damaged(`${what} does not begin with ${magic}`);
  const at = fields.u16(4);
  const count = fields.u16(6);
  const sectors = bytes.byteLength / STRIDE_BYTES;
  if (count !== sectors + 1 || at % 2 !== 0 || at < 8 || at + count * 2 > STRIDE_BYTES - 2) {
    throw damaged(`${what}: its update sequence has ${count} numbers at byte ${at}`);
  }
  const number = fields.u16(at);
  for (let sector = 0; sector < sectors; sector++) {
    const end = (sector + 1) * STRIDE_BYTES - 2;
    if (fields.u16(end) !== number) throw damaged(`${what} was not written as a whole`);
    bytes.set(fields.take(at + 2 + sector * 2, 2), end);
  }
  return fields;
}
