/** The command that looks at NBD servers. */
import {
  type ArgumentSpec,
  argument,
  entry,
  flag,
  optionalText,
  type TableEntry,
  value,
} from '../spec.ts';

const action: ArgumentSpec<'info' | 'mark' | 'forget'> = {
  placeholder: 'ACTION',
  help: 'info, mark or forget',
  parse: ([word]) => {
    if (word === 'info' || word === 'mark' || word === 'forget') return word;
    throw new Error(`expected info, mark or forget, not '${word}'`);
  },
};

function markName(word: string): string {
  if (/^[\w.-]{1,64}$/.test(word)) return word;
  throw new Error(`expected 1 to 64 letters, digits, _, - or ., not '${word}'`);
}

export const nbdSpec = {
  name: 'nbd',
  summary: 'tell what an NBD server offers; mark moments for its clients',
  details: [
    'info tells size, block sizes and abilities of an export. --map lists its extents instead:',
    'what is data and what is not, or what another context says, such as qemu:dirty-bitmap:NAME.',
    '--list tells about all exports of the server. With nbds:// the URI names the credentials:',
    'nbds://HOST/EXPORT?tls-certificates=DIRECTORY, nbds://USER@HOST/EXPORT?tls-psk-file=FILE.',
    '',
    'mark ends an epoch of a volume that is exported here, and prints the context that tells NBD',
    'clients what is written from now on (ferry:dirty/N). It is kept, over restarts too, under the',
    'name --as until it is marked anew, or until forget. Marks of others stay where they are.',
  ].join('\n'),
  arguments: {
    action,
    uri: argument('URI|VOL', 'an NBD URI; for mark and forget a volume, or its file'),
  },
  options: {
    map: optionalText('CONTEXT', 'base:allocation', 'list extents, by default as data or holes'),
    list: flag('tell about all exports', { short: 'L' }),
    as: value('NAME', 'for mark and forget: whose mark it is', 'default', markName),
  },
  examples: [
    'ferry nbd info nbd://localhost',
    'ferry nbd info nbd://localhost/disk --map',
    'ferry nbd info "nbd+unix:///?socket=/run/nbd.sock" --map=qemu:dirty-bitmap:day --json',
    'ferry nbd info nbds://storage.lan --list',
    'ferry nbd mark web --as nightly',
  ],
} as const;

export const nbdCommands: readonly TableEntry[] = [
  entry(nbdSpec, () => import('../commands/nbd.ts')),
];
