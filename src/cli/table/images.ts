/** Commands that look into images without a repository. */
import { argumentList, count, entry, powerOfTwo, sizes, type TableEntry, text } from '../spec.ts';
import { diskFormat } from './disk-format.ts';

export const analyzeSpec = {
  name: 'analyze',
  summary: 'tell what deduplication and compression would save on disk images',
  details: [
    'Counts the blocks of each image: all, those that are not zero, and those that are unique',
    '(different from each other), in the image and among all images. SAVED is the share of the',
    'blocks that are not zero which need not be kept, WITH ZEROES that of all blocks; ADDS is what',
    'an image brings that those before it do not have. Holes are skipped, everything else is read',
    'once. Compressed sizes are of blocks compressed each alone, estimated from the first 1024',
    'unique blocks and every Nth of the others.',
  ].join('\n'),
  arguments: {
    images: argumentList('IMAGE', 'a disk image or a block device', 'file'),
  },
  options: {
    blockSize: sizes(
      'SIZES',
      'block sizes to compare, powers of two from 512 to 16M, with commas between',
      '64K',
      powerOfTwo(512, 16 * 2 ** 20),
    ),
    format: diskFormat,
    level: count('N', 'zstd level of the compressed size; 0 leaves it out', '1', { max: 19 }),
    sample: count('N', 'compress every Nth unique block; 1 compresses all', '16', {
      min: 1,
      max: 65536,
    }),
    hashes: text('FILE', 'write the SHA-256 of each block that is not zero to FILE, a new file', {
      completes: 'file',
    }),
  },
  examples: [
    'ferry analyze disk.img',
    'ferry analyze --block-size 4K,64K,1M monday.img tuesday.img',
    'ferry analyze --json --hashes blocks.txt /dev/sdb',
  ],
} as const;

export const imageCommands: readonly TableEntry[] = [
  entry(analyzeSpec, () => import('../commands/analyze.ts')),
];
