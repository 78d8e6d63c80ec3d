/** Commands that look into images without a repository. */
import { argumentList, count, entry, sizes, type TableEntry, text } from '../spec.ts';

export const analyzeSpec = {
  name: 'analyze',
  summary: 'tell what deduplication and compression would save on disk images',
  details: [
    'Counts the blocks of each image: all, those that are not zero, and those that are unique, in',
    'the image and among all images. "X needs Y" says what a repository of such blocks would take.',
    'The compressed size is that of a sample of the unique blocks unless --sample is 1.',
  ].join('\n'),
  arguments: {
    images: argumentList('IMAGE', 'a disk image, a block device or an NBD URI', 'file'),
  },
  options: {
    blockSize: sizes(
      'SIZES',
      'block sizes to compare, from 512 to 16M, with commas between',
      '64K',
    ),
    level: count('N', 'zstd level of the compressed size; 0 leaves it out', '1', { max: 19 }),
    sample: count('N', 'compress every Nth unique block', '16', { min: 1, max: 65536 }),
    hashes: text('FILE', 'write the SHA-256 of each block that is not zero to FILE', {
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
