/** Commands that make a repository and look into it. */
import {
  type ArgumentSpec,
  argument,
  count,
  duration,
  entry,
  flag,
  type OptionSpec,
  optional,
  optionalArgument,
  powerOfTwo,
  share,
  size,
  type TableEntry,
  text,
} from '../spec.ts';

const snapshotHelp = 'VOL@latest, VOL@latest~2, VOL@ and the first digits of an id, or just VOL';

function percentOf([written]: readonly string[]): number | undefined {
  if (written === undefined) return undefined;
  const percent = Number(/^(\d{1,2})%?$/.exec(written)?.[1]);
  if (percent >= 1 && percent <= 50) return percent;
  throw new Error(`expected a whole number of percent from 1 to 50, not '${written}'`);
}

const parity: OptionSpec<number | undefined> = {
  placeholder: 'N%',
  help: 'keep so much beside the data that bit rot can be repaired: see ferry parity',
  parse: (texts) => percentOf(texts.slice(-1)),
};

export const initSpec = {
  name: 'init',
  summary: 'make a repository',
  details: [
    'The directory that --repo or FERRY_REPO names is made if it is not there; an S3 bucket must',
    'be there, and is tried: a server that overwrites objects makes it a repository of one writer,',
    'this host, until another one takes it over (--takeover). Credentials come from the usual',
    'AWS_* variables and ~/.aws, the server from --endpoint or AWS_ENDPOINT_URL. Small chunks find',
    'more that is equal and cost more memory and time; the size cannot be changed later.',
    '',
    'With --encrypt the password comes from FERRY_PASSWORD, FERRY_PASSWORD_FILE (a file),',
    'FERRY_PASSWORD_COMMAND (a command that prints it), or is asked for on the terminal.',
    'A repository cannot be encrypted later.',
  ].join('\n'),
  arguments: {},
  options: {
    chunkSize: size(
      'SIZE',
      'unit of deduplication, a power of two from 4K to 1M',
      '64K',
      powerOfTwo(4096, 2 ** 20),
    ),
    encrypt: flag('encrypt what is stored, under a password'),
    label: text('TEXT', 'with --encrypt: a name for the password, stored in clear'),
    parity,
  },
  examples: [
    'ferry init --repo /backups/disks',
    'ferry init --chunk-size 16K',
    'ferry init --repo s3://backups/disks --endpoint http://127.0.0.1:9000',
    'ferry init --encrypt --label office',
    'ferry init --parity 5%',
  ],
} as const;

export const lsSpec = {
  name: 'ls',
  summary: 'list snapshots, oldest first',
  details: [
    'CHANGED is what differs from the snapshot before, STORED what the snapshot added to the',
    'repository, SOURCE how the changes were found.',
  ].join('\n'),
  arguments: { volume: optionalArgument('VOL', 'only those of this volume') },
  options: {},
  examples: ['ferry ls', 'ferry ls web --json'],
} as const;

export const showSpec = {
  name: 'show',
  summary: 'tell everything about one snapshot',
  arguments: { snapshot: argument('VOL@SNAP', snapshotHelp) },
  options: {},
  examples: ['ferry show web@latest', 'ferry show web@1f3a --json'],
} as const;

export const diffSpec = {
  name: 'diff',
  summary: 'list the extents that differ between two snapshots, or that one holds',
  details: [
    'Reads manifests only, and of those only what differs. Extents are whole chunks; `zero` means',
    'that the second snapshot reads as zero there. What only a larger first one has is not listed.',
    'With --from the first one is in another repository, of any chunks, encrypted or not; where',
    'ids of chunks cannot be compared, the 8 MiB around what differs are listed.',
    '--allocated lists what one snapshot holds; no second one is named then.',
    '',
    'The list is a stream of any length. With --max-results it ends after so many extents, and',
    'the summary has a `nextToken` with which the next call goes on, today or in a year.',
  ].join('\n'),
  arguments: {
    older: argument('VOL@A', snapshotHelp),
    newer: optionalArgument('VOL@B', 'the snapshot whose content is described'),
  },
  options: {
    allocated: flag('list what holds data in VOL@A, without comparing'),
    from: text('REPO', 'VOL@A is in this repository (FERRY_TO_PASSWORD, as with copy)', {
      completes: 'directory',
    }),
    blockSize: optional(
      size('SIZE', 'list whole blocks of this size', '64K', powerOfTwo(4096, 2 ** 30)),
    ),
    startingOffset: size('BYTES', 'begin with the block or extent at this offset', '0'),
    maxResults: optional(
      count('N', 'stop after so many, and print a token to go on with', '1000', {
        min: 1,
        max: 10_000,
      }),
    ),
    nextToken: text('TOKEN', 'go on where the page with this token ended'),
  },
  examples: [
    'ferry diff web@latest~1 web@latest',
    'ferry diff web@1f3a web@latest --json',
    'ferry diff web@1f3a web@latest --block-size 512K --max-results 1000 --json',
    'ferry diff --from /mnt/offsite/disks web@latest web@latest',
    'ferry diff --allocated web@latest --json',
  ],
} as const;

export const statsSpec = {
  name: 'stats',
  summary: 'tell how much the repository holds, and in how little room',
  details: [
    'With --cost, what it would cost in S3: requests and bytes by class times a price list. That',
    'of AWS is built in; --prices names a JSON file with others, --json shows which there are.',
  ].join('\n'),
  arguments: {},
  options: {
    cost: flag('estimate what it costs in object storage'),
    prices: text('FILE', 'prices to use instead, JSON; implies --cost', { completes: 'file' }),
  },
  examples: ['ferry stats', 'ferry stats --cost', 'ferry stats --json'],
} as const;

export const checkSpec = {
  name: 'check',
  summary: 'look for damage in the repository',
  details: [
    'Reads the log, every index, the table of every pack and every manifest; with --read-data also',
    'every stored byte, and verifies it; --read-data=10% takes a tenth of the packs, those that',
    'were not read for longest. Changes nothing. Exit status 20 if something is damaged or gone.',
    'Packs that no snapshot needs are no damage: an interrupted backup leaves them.',
    '',
    '--repair undoes what parity can undo, takes good copies from the other repository, if one is',
    'named, rewrites damaged packs without what is damaged, makes the index anew and sets the',
    'damaged bytes aside (quarantine/). It names what is lost: the next backup stores what its',
    'source still has. Exit status 0 if the repository is whole afterwards, 20 if not. Run it when',
    'no backup is running.',
  ].join('\n'),
  arguments: {},
  options: {
    readData: share('read and verify all data as well, or the data of so many packs'),
    maxAge: duration('with --read-data: leave out what was read within so long, as 30d or 12h'),
    rebuildIndex: flag('make a new index from the packs'),
    repair: flag('repair what can be repaired; implies --read-data'),
    from: text('REPO', 'with --repair: another repository that may have good copies', {
      completes: 'directory',
    }),
    dryRun: flag('with --repair: tell what would be done, and change nothing'),
    acceptRollback: flag('take the log as it is, although entries that were seen are gone'),
    noPassword: flag('check an encrypted repository as its host can: without the password'),
  },
  examples: [
    'ferry check',
    'ferry check --read-data --repo /backups/disks',
    'ferry check --read-data=5% --max-age 30d',
    'ferry check --repair --dry-run',
    'ferry check --repair --from /mnt/mirror',
  ],
} as const;

const share100: ArgumentSpec<number | undefined> = {
  placeholder: 'N%|off',
  help: 'from now on; without it, what holds is told',
  optional: true,
  parse: (texts) => (texts[0] === 'off' ? 0 : percentOf(texts)),
};

export const paritySpec = {
  name: 'parity',
  summary: 'keep what it takes to repair damaged packs',
  details: [
    'With N% each pack gets parity beside it (Reed-Solomon): for each hundred stripes of 4 KiB so',
    'many more, spread so that a run of damage meets different groups. Up to N% of a pack may then',
    'be flipped, unreadable or cut off: reads go on, and `ferry check --repair` puts it right. It',
    'does not help if a whole pack is gone: for that, keep a copy elsewhere.',
    '',
    'Packs that are there get theirs at once, which reads them all; backups, copy and gc make it',
    'for those that come. Another N% makes all anew; `off` removes it.',
  ].join('\n'),
  arguments: { percent: share100 },
  options: {
    noPassword: flag('for the host of an encrypted repository: make what is missing'),
  },
  examples: ['ferry parity', 'ferry parity 5%', 'ferry parity off'],
} as const;

export const repositoryCommands: readonly TableEntry[] = [
  entry(initSpec, () => import('../commands/init.ts')),
  entry(lsSpec, () => import('../commands/ls.ts')),
  entry(showSpec, () => import('../commands/show.ts')),
  entry(diffSpec, () => import('../commands/diff.ts')),
  entry(statsSpec, () => import('../commands/stats.ts')),
  entry(checkSpec, () => import('../commands/check.ts')),
  entry(paritySpec, () => import('../commands/parity.ts')),
];
