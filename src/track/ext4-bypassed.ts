/** Files of ext4 that others write past it: swap files, and the environment block of GRUB. */
import { type Ext4, type Ext4Group, type Ext4Inode, fileRuns, inodeOf } from '../fs/index.ts';

/** Where the signature of a swap area ends: at the end of a page, of whatever machine. */
const PAGES_BYTES = [4096, 8192, 16_384, 65_536];
const SWAP_SIGNATURES = ['SWAPSPACE2', 'SWAP-SPACE'];
/** mkswap takes no less than ten pages. */
const SWAP_BYTES_MIN = 40_960;
/** swapon warns of files that others may read, and mkswap makes none. */
const OTHERS = 0o077;
const GRUB_BYTES = 1024;
const GRUB_SIGNATURE = '# GRUB Environment Block\n';

/** Reads all inodes of the group that are in use: at most a sixtieth of a usual file system. */
export async function bypassedFiles(fs: Ext4, group: Ext4Group): Promise<Ext4Inode[]> {
  if (group.areInodesUninitialised) return [];
  const { inodesPerGroup, inodeBytes, blockBytes } = fs.super;
  const count = Math.max(0, inodesPerGroup - group.unusedInodes);
  const perBlock = blockBytes / inodeBytes;
  const found: Ext4Inode[] = [];
  for (let first = 0; first < count; first += perBlock) {
    const table = await fs.block(group.inodeTable + first / perBlock, 'an inode table');
    for (let index = 0; index < Math.min(perBlock, count - first); index++) {
      const bytes = table.take(index * inodeBytes, inodeBytes);
      if (!isRegular(bytes)) continue;
      const inode = inodeOf(fs, group.number * inodesPerGroup + first + index + 1, bytes);
      if (await isBypassed(fs, inode)) found.push(inode);
    }
  }
  return found;
}

/** Before anything is verified: the upper half of the mode. */
function isRegular(bytes: Uint8Array): boolean {
  return (bytes[1]! & 0xf0) === 0x80;
}

async function isBypassed(fs: Ext4, inode: Ext4Inode): Promise<boolean> {
  const { owner, mode, sizeBytes } = inode;
  if (owner !== 0) return false;
  if (sizeBytes === GRUB_BYTES) return has(fs, inode, 0, [GRUB_SIGNATURE]);
  if (sizeBytes < SWAP_BYTES_MIN || (mode & OTHERS) !== 0) return false;
  for (const pageBytes of PAGES_BYTES) {
    if (await has(fs, inode, pageBytes - SWAP_SIGNATURES[0]!.length, SWAP_SIGNATURES)) return true;
  }
  return false;
}

async function has(
  fs: Ext4,
  inode: Ext4Inode,
  offsetBytes: number,
  signatures: readonly string[],
): Promise<boolean> {
  const { blockBytes } = fs.super;
  const wanted = Math.floor(offsetBytes / blockBytes);
  for await (const { fileBlock, block, count } of fileRuns(fs, inode)) {
    if (fileBlock > wanted) return false; // They ascend.
    if (wanted >= fileBlock + count) continue;
    const fields = await fs.block(block + wanted - fileBlock, 'the content of a file');
    const at = offsetBytes % blockBytes;
    const text = Buffer.from(fields.take(at, signatures[0]!.length)).toString('latin1');
    return signatures.includes(text);
  }
  return false;
}
