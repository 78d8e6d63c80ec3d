/** Commands that keep volumes present at a provider. */
import type { Address } from '../../core/index.ts';
import { parseAddress } from '../listen.ts';
import { type ProviderAddress, parseProvider } from '../provider-address.ts';
import {
  type ArgumentSpec,
  argument,
  choice,
  count,
  duration,
  entry,
  flag,
  type OptionSpec,
  optional,
  size,
  type TableEntry,
  text,
} from '../spec.ts';

export const lane = choice(
  ['auto', 'control', 'tls', 'udp'],
  'which lanes carry data; auto tries those that come about, and takes the fastest',
  'auto',
);

const listenTcp: OptionSpec<Extract<Address, { kind: 'tcp' }>> = {
  help: 'where agents connect; port 0 picks a free one',
  placeholder: 'HOST:PORT',
  defaultText: '127.0.0.1:7007',
  parse(texts) {
    const address = parseAddress(texts.at(-1) ?? '127.0.0.1:7007');
    if (address.kind === 'tcp') return address;
    throw new Error('agents connect over TCP: write HOST:PORT');
  },
};

const provider: ArgumentSpec<ProviderAddress> = {
  placeholder: 'PROVIDER',
  help: 'ferry://HOST:PORT, as `ferry serve` prints it',
  parse: (texts) => parseProvider(texts[0]!),
};

const to: OptionSpec<ProviderAddress> = {
  help: 'ferry://HOST:PORT of a provider that was paired with',
  placeholder: 'PROVIDER',
  parse(texts) {
    if (texts.length === 0) throw new Error('--to is missing: which provider?');
    return parseProvider(texts.at(-1)!);
  },
};

export const providers: OptionSpec<readonly ProviderAddress[]> = {
  help: 'keep the volume present at ferry://HOST:PORT, which was paired with; may be repeated',
  placeholder: 'PROVIDER',
  repeats: true,
  parse: (texts) => texts.map(parseProvider),
};

export const serveSpec = {
  name: 'serve',
  summary: 'be the provider: receive volumes, verify and keep them',
  details: [
    'Prints where it listens, and a line to be run once on the agent (`ferry pair`): after that',
    'both sides know each other. What arrives is verified, forced to disk, and acknowledged; each',
    'volume is always as it was at one moment of its agent. Snapshots of the volumes go into the',
    'repository, where every other command works beside it. Ctrl-C stops.',
  ].join('\n'),
  arguments: {},
  options: {
    listen: listenTcp,
    lane,
    quota: optional(size('SIZE', 'what the volumes of one agent may come to', '1T')),
    volumes: count('N', 'volumes that one agent may have', '1000', { min: 1 }),
  },
  examples: [
    'ferry serve --repo /backups/disks --listen 0.0.0.0:7007',
    'ferry serve --repo s3://bucket/disks --listen 10.0.0.2:7007 --quota 500G',
  ],
} as const;

export const pairSpec = {
  name: 'pair',
  summary: 'get to know a provider, and be known by it',
  details: [
    'TOKEN is good for one use, within an hour. It names the certificate that the provider must',
    'show, so that nobody can step between. To undo it: `ferry peers --revoke`, on both sides.',
  ].join('\n'),
  arguments: {
    provider,
    token: argument('TOKEN', 'from the line that `ferry serve` prints'),
  },
  options: {},
  examples: ['ferry pair ferry://backup.example.org:7007 TOKEN'],
} as const;

export const peersSpec = {
  name: 'peers',
  summary: 'list the nodes that this one is paired with, or revoke one',
  arguments: {},
  options: {
    revoke: text('PEER', 'forget it: by its name, or eight digits of its fingerprint'),
  },
  examples: ['ferry peers', 'ferry peers --revoke web1'],
} as const;

export const replicateSpec = {
  name: 'replicate',
  summary: 'keep a volume present at a provider',
  details: [
    'With --once: sends what differs, once, and has the provider make a snapshot. Otherwise it',
    'goes on until Ctrl-C, through lost links and restarts of the provider. Hashes go first: what',
    'the provider has already, from whichever volume of its repository, is not sent.',
    '',
    'A SOURCE that is exported (`ferry export SOURCE --name VOL`) is replicated through that:',
    'each epoch is one moment of the volume, and only what changed is read. Any other SOURCE is',
    'read whole and compared each time; it should not be written to meanwhile.',
  ].join('\n'),
  arguments: {
    source: argument(
      'SOURCE',
      'a path, an NBD URI, or the name of a volume that is exported',
      'file',
    ),
  },
  options: {
    name: text('VOL', "the volume's name at the provider; by default that of the source", {
      short: 'n',
    }),
    to,
    once: flag('send one epoch, make a snapshot of it, end'),
    interval: duration('between two epochs; 1s by default'),
    lane,
  },
  examples: [
    'ferry replicate disk.img --to ferry://backup.example.org:7007 --once',
    'ferry replicate web --to ferry://backup.example.org:7007 --interval 1s',
  ],
} as const;

export const replicationCommands: readonly TableEntry[] = [
  entry(serveSpec, () => import('../commands/serve.ts')),
  entry(pairSpec, () => import('../commands/pair.ts')),
  entry(peersSpec, () => import('../commands/peers.ts')),
  entry(replicateSpec, () => import('../commands/replicate.ts')),
];
