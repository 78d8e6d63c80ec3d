/** The command that makes a disk or a file of this host out of an export. */
import { count, entry, flag, optionalArgument, type TableEntry, text } from '../spec.ts';

export const attachSpec = {
  name: 'attach',
  summary: 'make an export a disk or a file of this host',
  details: [
    'With DEVICE, the NBD driver of the Linux kernel makes it a disk; needs root. With --fuse,',
    'PATH becomes a file of its size and content, on which losetup and file systems work; no',
    'driver is needed, and fusermount3 serves users other than root. Either goes away on SIGINT',
    'or SIGTERM; what is in use then stays until it no longer is. Both outlive a server that',
    'restarts.',
  ].join('\n'),
  arguments: {
    source: optionalArgument(
      'SOURCE',
      'an NBD URI; with --fuse also a path or memory:SIZE',
      'file',
    ),
    device: optionalArgument('DEVICE', '/dev/nbdN, or auto for a free one', 'file'),
  },
  options: {
    fuse: text('PATH', 'a file, a directory to put one into, or a name for a new file', {
      completes: 'file',
    }),
    detach: text('DEVICE', 'take away /dev/nbdN, or the FUSE file of a process that died', {
      completes: 'file',
    }),
    readOnly: flag('let nobody write', { short: 'r' }),
    allowOther: flag('with --fuse: let other users in, too'),
    connections: count('N', 'connections, if the server allows several', '4', { min: 1, max: 16 }),
    timeout: count('SECONDS', 'how long the server may take for an answer', '30', {
      min: 1,
      max: 86_400,
    }),
    reconnect: count('SECONDS', 'how long requests wait for a server that went away', '60', {
      min: 1,
      max: 86_400,
    }),
  },
  examples: [
    'ferry attach nbd+unix:///web?socket=/run/web.sock /dev/nbd0',
    'ferry attach nbd://backup.example/web auto --connections 8',
    'ferry attach --detach /dev/nbd0',
    'ferry attach nbd://backup.example/web --fuse ./web.img',
    'ferry attach nbd+unix:///web?socket=/run/web.sock --fuse ./mnt --read-only',
  ],
} as const;

export const attachCommands: readonly TableEntry[] = [
  entry(attachSpec, () => import('../commands/attach.ts')),
];
