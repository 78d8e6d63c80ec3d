/** Commands that serve volumes over NBD until they are told to stop. */

import { compressionOption } from '../compression.ts';
import { listen } from '../listen.ts';
import {
  argument,
  count,
  entry,
  flag,
  optionalArgument,
  optionalText,
  size,
  type TableEntry,
  text,
} from '../spec.ts';
import { tlsOptions } from '../tls-options.ts';
import { attachCommands } from './attach.ts';

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

export const exportSpec = {
  name: 'export',
  summary: 'serve a file, a block device or memory over NBD',
  details: [
    'Prints the URI to connect to and serves until SIGINT or SIGTERM. Clients read and write',
    'SOURCE itself; a flush of theirs makes it durable. With --name the changes are tracked: the',
    'next `ferry backup VOL` reads only what was written, and while the export runs it reads one',
    'moment, whatever is written meanwhile.',
  ].join('\n'),
  arguments: {
    source: argument('SOURCE', 'a path, memory:SIZE (forgotten at the end), or an NBD URI', 'file'),
  },
  options: {
    name: text('VOL', "the export's name; by default the file's, without its extension", {
      short: 'n',
    }),
    listen,
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
    'ferry export memory:1G --listen unix:/run/scratch.sock',
    'ferry export /dev/sdb --read-only --listen 0.0.0.0:10809',
    'ferry export /dev/nvme0n1 --threads 4 --listen 127.0.0.1:10809',
    'ferry export disk.img --listen 0.0.0.0:10809 --tls require --tls-psk keys.psk',
  ],
} as const;

export const servingCommands: readonly TableEntry[] = [
  entry(mountSpec, () => import('../commands/mount.ts')),
  entry(exportSpec, () => import('../commands/export.ts')),
  ...attachCommands,
];
