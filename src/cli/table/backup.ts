/** Commands that bring volumes into a repository and back. */

import type { ChangeChoice } from '../../track/index.ts';
import { compressionOption } from '../compression.ts';
import { argument, choice, entry, flag, type OptionSpec, type TableEntry, text } from '../spec.ts';
import { diskFormat } from './disk-format.ts';
import { words } from './retention.ts';

/** Written out: every command loads this file, and need not load what is behind them. */
const changeChoices = [
  ...(['auto', 'tracker', 'qemu', 'snapshot', 'extents', 'journal'] as const),
  ...(['checksum', 'full'] as const),
] satisfies readonly ChangeChoice[];

const auditOption: OptionSpec<number | undefined> = {
  help: 'how much of what is called unchanged is read again; 0 for nothing',
  placeholder: 'N%',
  defaultText: '0.5%, at most 256 MiB',
  parse(texts) {
    const written = texts.at(-1);
    if (written === undefined) return undefined;
    const percent = /^(\d{1,3}(?:\.\d{1,6})?)%?$/.exec(written)?.[1];
    const part = Number(percent) / 100;
    if (part >= 0 && part <= 1 && (part === 0 || written.endsWith('%'))) return part;
    throw new Error(`expected 0 or a share such as 0.5%, at most 100%, not '${written}'`);
  },
};

/** What a source is, and who knows what changed of it. */
const imageOptions = {
  format: diskFormat,
  bitmap: text('NAME', 'the dirty bitmap of QEMU to use; in a qcow2 image by default `ferry`'),
  imageSnapshot: text('NAME', 'take this snapshot inside a qcow2 image, not its present state'),
  rbdDiff: text('FILE', 'the output of rbd diff --format json, named for the last snapshot', {
    completes: 'file',
  }),
  thinDelta: text('FILE', 'the output of thin_delta (LVM thin), named likewise', {
    completes: 'file',
  }),
};

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
    'block, full reads every block and compares nothing; journal, which is never taken by itself,',
    'sees what was written through ext4 or, as an experiment, NTFS only. What a source calls',
    'unchanged is doubted: a random part of it is read all the same (--audit). A change that was',
    'not told makes the whole volume be compared, the source not be believed any more, and the',
    'exit status 21.',
  ].join('\n'),
  arguments: {
    source: argument(
      'SOURCE',
      'a path, nbd://HOST[:PORT]/EXPORT, nbd+unix:///EXPORT?socket=PATH, or qmp+unix: likewise',
      'file',
    ),
  },
  options: {
    name: text('VOL', "the volume's name; by default the file's, without its extension", {
      short: 'n',
    }),
    tag: words('TAG', 'give the snapshot this tag; may be given several times'),
    audit: auditOption,
    changes: choice(changeChoices, 'how to find what changed', 'auto'),
    ...imageOptions,
    keepClone: flag('keep a clone of the file beside it, to compare with (XFS, btrfs)'),
    compression: compressionOption,
  },
  examples: [
    'ferry backup disk.img',
    'ferry backup vm.qcow2 --bitmap ferry',
    'ferry backup qmp+unix:///drive0?socket=/run/vm.qmp --name vm',
    'ferry backup /dev/vg0/web --name web --compression zstd:9',
    'ferry backup nbd+unix:///?socket=/run/vm.sock --name vm',
  ],
} as const;

export const restoreSpec = {
  name: 'restore',
  summary: 'write a snapshot to a file, a block device or an NBD export',
  details: [
    'A file is made, or overwritten if it is there, and stays sparse. A block device or an export',
    'must be at least as large as the snapshot; what lies behind that is not touched. No raw bytes',
    'are written over a qcow2 image: restore to what qemu-nbd serves of it, or say --format raw.',
  ].join('\n'),
  arguments: {
    snapshot: argument('VOL@SNAP', 'VOL@latest, VOL@latest~2, VOL@ and digits of an id, or VOL'),
    target: argument('TARGET', 'a path or an NBD URI; what is there is overwritten', 'file'),
  },
  options: {
    format: choice(['auto', 'raw'], 'raw: also where there is a qcow2 image', 'auto'),
    verify: flag('read the target again and compare it with the snapshot'),
  },
  examples: [
    'ferry restore web@latest web.img',
    'ferry restore web@latest~3 /dev/vg0/web --verify',
  ],
} as const;

export const auditSpec = {
  name: 'audit',
  summary: 'doubt what the source of changes says of a volume',
  details: [
    'Reads a random part of what is called unchanged since the last snapshot, and compares.',
    'Nothing is committed if all is as told. Otherwise the whole volume is compared, a right',
    'snapshot is made, the source is not believed any more until a comparison finds nothing',
    'untold, and the exit status is 21.',
  ].join('\n'),
  arguments: {
    source: argument('VOL', 'a volume that is exported by ferry, or its file', 'file'),
  },
  options: {
    name: text('VOL', "the volume's name; by default the export's, or the file's", { short: 'n' }),
    audit: auditOption,
    ...imageOptions,
  },
  examples: ['ferry audit vm', 'ferry audit vm.img --name vm --audit 10%'],
} as const;

export const backupCommands: readonly TableEntry[] = [
  entry(backupSpec, () => import('../commands/backup.ts')),
  entry(auditSpec, () => import('../commands/audit.ts')),
  entry(restoreSpec, () => import('../commands/restore.ts')),
];
