/** Commands that keep volumes present at a provider. */
import { nodeOptions } from '../node-options.ts';
import { type ProviderAddress, parseProvider } from '../provider-address.ts';
import {
  type ArgumentSpec,
  argument,
  duration,
  entry,
  flag,
  type OptionSpec,
  type TableEntry,
  text,
} from '../spec.ts';
import { lane } from './lane.ts';

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
    '',
    'With --reverse: SOURCE becomes what the provider made of it since `ferry promote`. What was',
    'written on either side since the last common epoch is compared and fetched; what is only',
    'here is kept there first, as VOL.branch-DAY-N. When both digests are equal, this side writes',
    'again.',
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
    reverse: flag('bring a promoted volume back: only what differs is fetched'),
    interval: duration('between two epochs; 1s by default'),
    ...nodeOptions,
    lane,
  },
  examples: [
    'ferry replicate disk.img --to ferry://backup.example.org:7007 --once',
    'ferry replicate web --to ferry://backup.example.org:7007 --interval 1s',
    'ferry replicate disk.img --name web --to ferry://backup.example.org:7007 --reverse',
  ],
} as const;

export const replicationCommands: readonly TableEntry[] = [
  entry(pairSpec, () => import('../commands/pair.ts')),
  entry(replicateSpec, () => import('../commands/replicate.ts')),
];
