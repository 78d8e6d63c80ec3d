/** Which failures mean that what is stored is damaged, and not that a store cannot be reached. */
import { FerryError } from '../../core/index.ts';

const damage = new Set([
  'STORE_DAMAGED',
  'STORE_MISSING',
  'STORE_DIGEST',
  'CODEC_DAMAGED',
  'CODEC_MISMATCH',
  'OBJECT_RANGE',
  'OBJECT_NOT_FOUND',
]);

export function isDamage(error: unknown): boolean {
  return error instanceof FerryError && damage.has(error.code);
}
