/** Commands that serve volumes over NBD until they are told to stop. */

import { compressionOption } from '../compression.ts';
import { listen } from '../listen.ts';
import { nodeOptions } from '../node-options.ts';
import {
  argument,
  argumentList,
  choice,
  count,
  duration,
  entry,
  flag,
  type OptionSpec,
  optionalArgument,
  optionalText,
  size,
  type TableEntry,
  text,
} from '../spec.ts';
import { tlsOptions } from '../tls-options.ts';
import { attachCommands } from './attach.ts';
import { diskFormat } from './disk-format.ts';
import { lane } from './lane.ts';
import { providers } from './replication.ts';

export const mountSpec = {
  name: 'mount',
  summary: 'serve a snapshot over NBD, at once',
  details: [
    'Prints the URI to connect to and serves until SIGINT or SIGTERM. With --rw, writes go to a',
    'layer in the state directory; the snapshot stays as it is. With --commit the state is kept as',
    'a new snapshot on a clean stop, and on SIGUSR2 meanwhile; the layer is removed after a commit',
    'on a stop. In all other cases the layer stays, and --continue takes it up.',
  ].join('\n'),
  arguments: {
    snapshot: optionalArgument(
      'VOL@SNAP',
      'VOL@latest, VOL@latest~2, VOL@ and digits of an id, or VOL',
    ),
  },
  options: {
    rw: flag('let clients write, to a layer'),
    listen,
    commit: optionalText('VOL', '', 'with --rw: keep the changes as a snapshot of VOL, or its own'),
    compression: compressionOption,
    continue: flag('take up the layer that an earlier mount left'),
    since: text('VOL@A', 'tell clients what differs from it, as the context ferry:dirty/1'),
    ...tlsOptions,
  },
  examples: [
    'ferry mount web@latest',
    'ferry mount web@latest~1 --listen 127.0.0.1:10809',
    'ferry mount web@latest --rw --commit',
    'ferry mount web@latest --since web@latest~1',
    'ferry mount web@1f3a --rw --continue',
  ],
} as const;

const syncOption: OptionSpec<number | undefined> = {
  placeholder: 'DURATION',
  bareText: '30s',
  help: 'with --to: a flush waits for the providers, so long at most, and fails then',
  parse: (texts) => duration('').parse(texts),
};

const fenceOption: OptionSpec<number | undefined> = {
  placeholder: 'lease[=DURATION]',
  help: 'with --to: without contact for so long (30s), writes wait, and are not acknowledged',
  parse(texts) {
    const written = texts.at(-1);
    if (written === undefined) return undefined;
    const lease = /^lease(?:=(?<length>.+))?$/.exec(written);
    if (lease === null) throw new Error(`'${written}' is no fence; write lease or lease=20s`);
    return duration('').parse([lease.groups?.length ?? '30s']);
  },
};

export const exportSpec = {
  name: 'export',
  summary: 'serve a file, a block device or memory over NBD',
  details: [
    'Prints the URI to connect to and serves until SIGINT or SIGTERM. Clients read and write',
    'SOURCE itself; a flush of theirs makes it durable. With --name the changes are tracked: the',
    'next `ferry backup VOL` reads only what was written, and while the export runs it reads one',
    'moment, whatever is written meanwhile.',
    '',
    'With --to the volume is kept present at a provider while it is written: all of it at first,',
    'then what changed, each epoch one moment of the volume and there whole or not at all. A link',
    'that is slow or cut never holds a writer up; when it is back, what is missing goes over it.',
    'A provider that does not answer within 5 s is looked for while the volume is served;',
    '`ferry status` tells of it. A stop sends what is left, for 30 s at most.',
    '',
    'With --sync a flush is answered when the providers have what was written before it, too; one',
    'that they do not get in time fails.',
    '',
    'A volume that was promoted at its provider (`ferry promote`) is not written here any more:',
    'writes are refused, what was written meanwhile is kept at the provider as a volume of its',
    'own, and the status is 13. With --fence lease this export acknowledges writes only while it',
    'has heard its providers a short time ago, and a promotion waits for that.',
    '',
    'With --group several volumes, written VOL=SOURCE, are served by one server and cut at one',
    'moment, so that a database on two disks is consistent at the provider: it has all of them as',
    'they were at one cut, never one newer than another, and its snapshots of them bear one tag,',
    'GROUP@EPOCH. They are promoted together.',
    '',
    'At the provider, replica:VOL is the volume that was promoted there, writable.',
  ].join('\n'),
  arguments: {
    sources: argumentList(
      'SOURCE',
      'a path, memory:SIZE (forgotten at the end), an NBD URI, or replica:VOL; or VOL=SOURCE',
      'file',
    ),
  },
  options: {
    name: text('VOL', "the export's name; by default the file's, without its extension", {
      short: 'n',
    }),
    group: text('NAME', 'with --to: the volumes VOL=SOURCE are cut at one moment, under this name'),
    to: providers,
    interval: duration('with --to: from one epoch to the next; 1s by default'),
    sync: syncOption,
    fence: fenceOption,
    ...nodeOptions,
    lane,
    listen,
    format: diskFormat,
    readOnly: flag('let clients read only', { short: 'r' }),
    untracked: flag('do not track what is written'),
    momentRoom: size(
      'SIZE',
      'what may be kept aside, in the state directory, for a backup that runs',
      '4G',
    ),
    directIo: flag('pass the page cache of this host by (O_DIRECT)'),
    threads: count('N', 'serve from so many threads; not for an NBD URI', '1', {
      min: 1,
      max: 16,
    }),
    ...tlsOptions,
  },
  examples: [
    'ferry export disk.img',
    'ferry export disk.img --name web',
    'ferry export disk.img --name web --to ferry://backup.example.org:7007',
    'ferry export disk.img --name web --to ferry://10.0.0.2:7007 --to ferry://10.9.0.2:7007 --sync',
    'ferry export disk.img --name web --to ferry://10.0.0.2:7007 --fence lease=20s',
    'ferry export db-data=/dev/vg/data db-log=/dev/vg/log --group db --to ferry://10.0.0.2:7007',
    'ferry export replica:web --repo /backups/disks --listen 0.0.0.0:10809',
    'ferry export memory:1G --listen unix:/run/scratch.sock',
    'ferry export /dev/sdb --read-only --listen 0.0.0.0:10809',
    'ferry export /dev/nvme0n1 --threads 4 --listen 127.0.0.1:10809',
    'ferry export disk.img --listen 0.0.0.0:10809 --tls require --tls-psk keys.psk',
  ],
} as const;

export const profileSpec = {
  name: 'profile',
  summary: 'tell where an exported volume is read and written',
  details: [
    'Lists the hottest regions of 64 KiB of a volume that was exported with --name, now or before:',
    'reads and writes, of which those of an hour ago count half; how many of them began where one',
    'had ended; and how likely the region is written within the next minute. Counts of regions',
    'that were not always among the hottest may be too high (~). Above the list stand the sums',
    'of the volume, and its working set: what was in use within so long, in larger volumes judged',
    'from a sample. Zeroes and discards are not counted. A running export is asked; otherwise it',
    'is told what the last one has kept, and how it has faded since.',
  ].join('\n'),
  arguments: {
    volume: argument('VOL', 'a volume that is or was exported by ferry, or its file', 'file'),
  },
  options: {
    top: count('N', 'list so many regions', '20', { min: 1, max: 1_000_000 }),
    by: choice(['accesses', 'reads', 'writes'], 'what makes a region hot', 'accesses'),
  },
  examples: ['ferry profile web', 'ferry profile web --by writes --top 100 --json'],
} as const;

export const servingCommands: readonly TableEntry[] = [
  entry(mountSpec, () => import('../commands/mount.ts')),
  entry(exportSpec, () => import('../commands/export.ts')),
  entry(profileSpec, () => import('../commands/profile.ts')),
  ...attachCommands,
];
