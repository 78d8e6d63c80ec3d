/** The command that looks at NBD servers. */
import {
  type ArgumentSpec,
  argument,
  entry,
  flag,
  optionalText,
  type TableEntry,
} from '../spec.ts';

/** There is one action; others would be commands of the same kind. */
const action: ArgumentSpec<'info'> = {
  placeholder: 'info',
  help: 'tell what the server says',
  parse: ([word]) => {
    if (word === 'info') return word;
    throw new Error(`expected info, not '${word}'`);
  },
};

export const nbdSpec = {
  name: 'nbd',
  summary: 'tell what an NBD server offers',
  details: [
    'Tells size, block sizes and abilities of an export. --map lists its extents instead: what is',
    'data and what is not, or what another context says, such as qemu:dirty-bitmap:NAME. --list',
    'tells about all exports of the server. With nbds:// the URI names the credentials:',
    'nbds://HOST/EXPORT?tls-certificates=DIRECTORY, nbds://USER@HOST/EXPORT?tls-psk-file=FILE.',
  ].join('\n'),
  arguments: { action, uri: argument('URI', 'nbd://HOST[:PORT]/EXPORT, or another NBD URI') },
  options: {
    map: optionalText('CONTEXT', 'base:allocation', 'list extents, by default as data or holes'),
    list: flag('tell about all exports', { short: 'L' }),
  },
  examples: [
    'ferry nbd info nbd://localhost',
    'ferry nbd info nbd://localhost/disk --map',
    'ferry nbd info "nbd+unix:///?socket=/run/nbd.sock" --map=qemu:dirty-bitmap:day --json',
    'ferry nbd info nbds://storage.lan --list',
  ],
} as const;

export const nbdCommands: readonly TableEntry[] = [
  entry(nbdSpec, () => import('../commands/nbd.ts')),
];
