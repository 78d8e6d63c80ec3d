/** Looking for a name in a small directory, all of it from one end to the other. */
import { damaged, tooMuch } from '../errors.ts';
import type { Fields } from '../fields.ts';
import { fixedUp } from './fixups.ts';
import { INDEX_BLOCKS_MAX } from './limits.ts';
import { fileNameAt, type Reference, referenceAt } from './numbers.ts';
import { ATTRIBUTE, type NtfsRecord } from './record.ts';
import type { Ntfs } from './volume.ts';

const NAMES = '$I30';
const ENTRY_LAST = 2;
const ENTRY_BYTES = 0x10;
const ROOT_HEADER_AT = 0x10;
const BLOCK_HEADER_AT = 0x18;

/** The file of that name, if the directory has it. */
export async function findInDirectory(
  ntfs: Ntfs,
  directory: NtfsRecord,
  name: string,
): Promise<Reference | undefined> {
  const root = await ntfs.stream(directory, ATTRIBUTE.indexRoot, NAMES);
  const top = await root.read(0, root.dataBytes);
  const found = findIn(top, ROOT_HEADER_AT, name);
  if (found !== undefined) return found;
  if (!directory.attributes.some(({ type }) => type === ATTRIBUTE.indexBlocks)) return undefined;
  const blocks = await ntfs.stream(directory, ATTRIBUTE.indexBlocks, NAMES);
  const bitmap = await ntfs.stream(directory, ATTRIBUTE.bitmap, NAMES);
  const { indexBytes } = ntfs.boot;
  const count = Math.floor(blocks.dataBytes / indexBytes);
  if (count > INDEX_BLOCKS_MAX) throw tooMuch(`${blocks.what} has ${count} blocks`);
  const used = await bitmap.read(0, Math.ceil(count / 8));
  for (let index = 0; index < count; index++) {
    if (((used.u8(index >>> 3) >>> (index & 7)) & 1) === 0) continue;
    const what = `block ${index} of ${blocks.what}`;
    const { bytes } = await blocks.read(index * indexBytes, indexBytes);
    const inBlock = findIn(fixedUp(bytes, 'INDX', what), BLOCK_HEADER_AT, name);
    if (inBlock !== undefined) return inBlock;
  }
  return undefined;
}

function findIn(fields: Fields, headerAt: number, name: string): Reference | undefined {
  const end = headerAt + fields.u32(headerAt + 4);
  for (let at = headerAt + fields.u32(headerAt); at + ENTRY_BYTES <= end; ) {
    const lengthBytes = fields.u16(at + 8);
    if ((fields.u16(at + 12) & ENTRY_LAST) !== 0) return undefined;
    if (lengthBytes < ENTRY_BYTES) throw damaged(`${fields.what}: ${lengthBytes} bytes of entry`);
    if (fileNameAt(fields, at + ENTRY_BYTES) === name) return referenceAt(fields, at);
    at += lengthBytes;
  }
  throw damaged(`${fields.what}: its entries have no end`);
}
