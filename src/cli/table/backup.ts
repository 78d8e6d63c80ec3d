/** Commands that bring volumes into a repository and back. */

import type { ChangeChoice } from '../../track/index.ts';
import { compressionOption } from '../compression.ts';
import { argument, choice, entry, flag, type TableEntry, text } from '../spec.ts';
import { words } from './retention.ts';

/** Written out: every command loads this file, and need not load what is behind them. */
const changeChoices = [
  ...(['auto', 'tracker', 'qemu', 'snapshot', 'extents', 'journal'] as const),
  ...(['checksum', 'full'] as const),
] satisfies readonly ChangeChoice[];

export const backupSpec = {
  name: 'backup',
  summary: 'take a snapshot of a disk, a file or an NBD export',
  details: [
    'Incremental by itself: what the volume or any other in the repository had already is not',
    'stored again, and holes are not read. SOURCE must not change meanwhile. An interrupted run',
    'leaves finished packs behind, which the next one takes up. Exit status 3 if parts of the',
    'source could not be read: the snapshot is there, and they are zeroes in it.',
    'What changed is told by the best source that can be trusted, each one that cannot say is',
    'named with its reason; --changes asks one source only: checksum reads and compares every',
    'block, full reads every block and compares nothing.',
  ].join('\n'),
  arguments: {
    source: argument(
      'SOURCE',
      'a path, nbd://HOST[:PORT]/EXPORT, nbd+unix:///EXPORT?socket=PATH',
      'file',
    ),
  },
  options: {
    name: text('VOL', "the volume's name; by default the file's, without its extension", {
      short: 'n',
    }),
    tag: words('TAG', 'give the snapshot this tag; may be given several times'),
    changes: choice(changeChoices, 'how to find what changed', 'auto'),
    compression: compressionOption,
  },
  examples: [
    'ferry backup disk.img',
    'ferry backup /dev/vg0/web --name web --compression zstd:9',
    'ferry backup nbd+unix:///?socket=/run/vm.sock --name vm',
  ],
} as const;

export const restoreSpec = {
  name: 'restore',
  summary: 'write a snapshot to a file, a block device or an NBD export',
  details: [
    'A file is made, or overwritten if it is there, and stays sparse. A block device or an export',
    'must be at least as large as the snapshot; what lies behind that is not touched.',
  ].join('\n'),
  arguments: {
    snapshot: argument('VOL@SNAP', 'VOL@latest, VOL@latest~2, VOL@ and digits of an id, or VOL'),
    target: argument('TARGET', 'a path or an NBD URI; what is there is overwritten', 'file'),
  },
  options: { verify: flag('read the target again and compare it with the snapshot') },
  examples: [
    'ferry restore web@latest web.img',
    'ferry restore web@latest~3 /dev/vg0/web --verify',
  ],
} as const;

export const backupCommands: readonly TableEntry[] = [
  entry(backupSpec, () => import('../commands/backup.ts')),
  entry(restoreSpec, () => import('../commands/restore.ts')),
];
