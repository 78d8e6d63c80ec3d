/** The command that brings snapshots from one repository to another. */
import { compressionOption } from '../compression.ts';
import { type ArgumentSpec, argument, entry, flag, type TableEntry, text } from '../spec.ts';

const names: ArgumentSpec<readonly string[]> = {
  placeholder: 'VOL[@SNAP]',
  help: 'a snapshot, or all of a volume; everything if none is named',
  optional: true,
  repeats: true,
  parse: (texts) => texts,
};

export const copySpec = {
  name: 'copy',
  summary: 'copy snapshots from one repository to another',
  details: [
    'Oldest first, and only what is missing: a snapshot that is there already is passed over, of',
    'the others only those chunks are read and stored that the second repository does not have.',
    'Time, tags, hold and digest stay as they are; the copy has an id of its own. What is older',
    'than the newest copy of its volume was forgotten there on purpose: name it to have it again.',
    'An interrupted run leaves finished packs behind, which the next one takes up. A snapshot that',
    'is damaged is refused and named, the others are copied; the exit status is 20 then.',
    '',
    'Passwords: FERRY_PASSWORD, FERRY_PASSWORD_FILE or FERRY_PASSWORD_COMMAND for REPO1, and',
    'FERRY_TO_PASSWORD, FERRY_TO_PASSWORD_FILE or FERRY_TO_PASSWORD_COMMAND for REPO2; without',
    'those the one of REPO1, or a question on the terminal. --endpoint is for both.',
  ].join('\n'),
  arguments: {
    from: argument('REPO1', 'the repository to copy from: a directory or s3://...', 'directory'),
    to: argument('REPO2', 'the repository to copy to; make it with `ferry init`', 'directory'),
    names,
  },
  options: {
    dryRun: flag('only tell what would be copied, and how much would be read for it'),
    compression: compressionOption,
    decrypt: flag('copy from an encrypted repository to one that is not'),
    toEndpoint: text('URL', 'the S3 server of REPO2, if it is another one than that of REPO1'),
  },
  examples: [
    'ferry copy /backups/disks /mnt/offsite/disks',
    'ferry copy /backups/disks s3://offsite/disks web mail@latest --dry-run',
    'FERRY_TO_PASSWORD_FILE=offsite.key ferry copy /backups/disks /mnt/usb/disks',
  ],
} as const;

export const copyCommands: readonly TableEntry[] = [
  entry(copySpec, () => import('../commands/copy.ts')),
];
