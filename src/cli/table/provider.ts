/** Commands of whoever keeps other nodes' volumes present: the provider. */
import { type Address, parseSize, SIZE_FORM } from '../../core/index.ts';
import { parseAddress } from '../listen.ts';
import { LOG_LEVEL_NAMES } from '../log-levels.ts';
import { nodeOptions } from '../node-options.ts';
import { type ProviderAddress, parseProvider } from '../provider-address.ts';
import {
  argument,
  choice,
  count,
  duration,
  entry,
  flag,
  type OptionSpec,
  optional,
  optionalArgument,
  size,
  type TableEntry,
  text,
} from '../spec.ts';
import { tlsOptions } from '../tls-options.ts';
import { lane } from './lane.ts';
import { keepOptions } from './retention.ts';

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

function address(help: string): OptionSpec<Address | undefined> {
  const parse = (texts: readonly string[]) =>
    texts.length === 0 ? undefined : parseAddress(texts.at(-1)!);
  return { help, placeholder: 'ADDR', parse };
}

export type NamedTenant = { readonly name: string; readonly location: string };

const tenants: OptionSpec<readonly NamedTenant[]> = {
  help: 'a tenant with a repository of its own; may be given several times',
  placeholder: 'NAME=REPO',
  repeats: true,
  parse: (texts) =>
    texts.map((written) => {
      const [, name, location] = /^([a-z0-9][a-z0-9-]{0,31})=(.+)$/.exec(written) ?? [];
      if (name !== undefined && location !== undefined) return { name, location };
      throw new Error(`'${written}' is no NAME=REPO; names have small letters, digits, dashes`);
    }),
};

const forward: OptionSpec<readonly ProviderAddress[]> = {
  help: 'send what is committed here on to another provider; may be given several times',
  placeholder: 'PROVIDER',
  repeats: true,
  parse: (texts) => texts.map(parseProvider),
};

/** What holds for an agent whose grant says nothing else. */
const grantOptions = {
  quota: optional(size('SIZE', 'what the volumes of an agent may come to', '1T')),
  quotaStored: optional(size('SIZE', 'what they may take in the repository and in journals', '1T')),
  rate: optional(size('SIZE', 'bytes that are taken from an agent in a second', '100M')),
  window: text('HH:MM-HH:MM', 'take data in these hours only, by the clock of this host'),
};

export const serveSpec = {
  name: 'serve',
  summary: 'be the provider: receive volumes, verify and keep them',
  details: [
    'Prints where it listens, and a line to be run once on the agent (`ferry pair`): after that',
    'both sides know each other. What arrives is verified, forced to disk, and acknowledged; each',
    'volume is always as it was at one moment of its agent. Snapshots of the volumes go into the',
    'repository, where every other command works beside it. Ctrl-C and SIGTERM stop it.',
    '',
    'With --ca agents need not pair: whoever shows a certificate that FILE has signed is let in,',
    'and known by the first name in it; `ferry peers` lists it from then on, changes its rights,',
    'and revokes it.',
    '',
    'Quotas, rates and windows hold for every agent that has none of its own (`ferry peers`).',
    '`ferry status` tells how it goes. --http adds metrics for Prometheus (/metrics), /healthz and',
    'the same status for others; it is for reading only, and asks nobody who he is. --nbd exports',
    'VOL, the newest epoch when a client opens it, and VOL@SNAP, read-only.',
    '',
    'A --config file is YAML with these names and values, `--` left out; flags beat it.',
  ].join('\n'),
  arguments: {},
  options: {
    listen: listenTcp,
    lane,
    ...nodeOptions,
    ...grantOptions,
    volumes: count('N', 'volumes that one agent may have', '1000', { min: 1 }),
    tenant: tenants,
    snapshotEvery: duration('between two snapshots of a volume that changes, as 1h'),
    ...keepOptions,
    forward,
    nbd: address('export replicas and snapshots over NBD there: HOST:PORT or unix:PATH'),
    ...tlsOptions,
    http: address('metrics, health and status there: HOST:PORT or unix:PATH'),
    log: choice(['auto', 'text', 'json'], 'auto: text on a terminal, else JSON, on stderr', 'auto'),
    logLevel: choice(LOG_LEVEL_NAMES, 'what is logged', 'info'),
    config: text('FILE', 'take options from this YAML file', { completes: 'file' }),
  },
  examples: [
    'ferry serve --repo /backups/disks --listen 0.0.0.0:7007',
    'ferry serve --repo s3://bucket/disks --listen 10.0.0.2:7007 --quota 500G',
    'ferry serve --config /etc/ferry/serve.yaml',
    'ferry serve --snapshot-every 1h --keep-hourly 24 --keep-daily 30 --http 127.0.0.1:9007',
    'ferry serve --nbd unix:/run/ferry/nbd.sock --forward ferry://elsewhere.example.org:7007',
  ],
} as const;

export const statusSpec = {
  name: 'status',
  summary: 'tell what a provider does, and how exports stand with theirs',
  details: [
    'Without ADDR: every `ferry serve` and every tracked `ferry export` with this state directory',
    '(FERRY_STATE_DIR). Of an export it tells how far behind each provider is, and since when and',
    'why one is not connected. LAG is how old the newest epoch may be: 0 while the agent is here',
    'and nothing is on its way.',
  ].join('\n'),
  arguments: {
    address: {
      ...{ placeholder: 'ADDR', help: '--http of the provider: HOST:PORT or unix:PATH' },
      optional: true,
      parse: (texts: readonly string[]) =>
        texts.length === 0 ? undefined : parseAddress(texts[0]!),
    },
  },
  options: {},
  examples: ['ferry status', 'ferry status 127.0.0.1:9007 --json'],
} as const;

export const promoteSpec = {
  name: 'promote',
  summary: 'have this provider write a volume that an agent wrote',
  details: [
    'With the agent connected (`ferry export --to`) it is a planned move: the agent stops its',
    'writers, sends the rest, both digests are compared, and nothing is lost. Without the agent,',
    '--force promotes the last epoch that is whole here, and what is known of the loss is told.',
    'From then on the agent may not write any more: when it returns, its export refuses writes,',
    'and what it wrote meanwhile becomes a volume of its own here, VOL.branch-DAY-N.',
    '',
    '`ferry export replica:VOL` serves the promoted volume, writable; `ferry replicate --reverse`',
    'on the old machine brings back what differs. Works beside a running `ferry serve` with the',
    'same state directory, or with --repo without one. The same once more changes nothing.',
    '',
    'A volume of a group (`ferry export --group`) is promoted with the others of it, all of them',
    'at one epoch: half of a database is of no use.',
    '',
    'An agent with --fence lease stops by itself: --force waits until it surely has.',
  ].join('\n'),
  arguments: {
    volume: argument('VOL', 'a volume that an agent keeps present here'),
  },
  options: {
    force: flag('promote though the agent is not there to agree'),
    agentIsDead: flag('with --force: do not wait for the end of its lease, it is surely off'),
    tenant: text('NAME', 'whose volume it is'),
  },
  examples: ['ferry promote web', 'ferry promote web --force'],
} as const;

/** `default` takes back what was granted. */
const sizeOrDefault = (
  help: string,
  placeholder = 'SIZE',
): OptionSpec<number | 'default' | undefined> => ({
  ...{ help, placeholder },
  parse(texts) {
    const written = texts.at(-1);
    if (written === undefined || written === 'default') return written;
    const bytes = parseSize(written);
    if (bytes !== undefined) return bytes;
    throw new Error(`'${written}' is neither a size (${SIZE_FORM}) nor 'default'`);
  },
});

export const peersSpec = {
  name: 'peers',
  summary: 'list who is paired with this node, change their rights, or revoke one',
  details: [
    'With PEER and options: changes what that agent may do at the provider that runs here; what is',
    "not said stays, 'default' goes back to what `ferry serve` says. It holds within seconds, for",
    'sessions that are open too. `read` lets an agent compare with what is there already, `write`',
    'send; volumes are names in which * stands for any letters.',
    '',
    'An agent that --ca lets in by its name stays in the list when it is revoked, so that no new',
    'certificate brings it back; `ferry peers PEER --rights default` lets it in again.',
  ].join('\n'),
  arguments: {
    peer: optionalArgument('PEER', 'an agent, by its name or eight digits of its fingerprint'),
  },
  options: {
    rights: text('RIGHTS', 'read, write, read,write, none or default'),
    volumes: text('NAMES', "names that it may use, as 'web-*,mail', or default"),
    maxVolumes: sizeOrDefault('how many volumes it may have', 'N'),
    quota: sizeOrDefault('what its volumes may come to'),
    quotaStored: sizeOrDefault('what they may take in the repository and in journals'),
    rate: sizeOrDefault('bytes that are taken from it in a second'),
    window: text('HH:MM-HH:MM', 'hours in which data is taken from it, or default'),
    tenant: text('NAME', 'whose repository its volumes go to, or default'),
    invite: flag('have the running `ferry serve` print a line to pair another agent'),
    vouched: flag('the agent comes by that name with --ca, now or later; it need not be known'),
    revoke: text('PEER', 'forget it: by its name, or eight digits of its fingerprint'),
  },
  examples: [
    'ferry peers',
    "ferry peers web1 --volumes 'web1-*' --quota 200G --rate 20M --window 22:00-06:00",
    'ferry peers --invite --tenant acme',
    'ferry peers --revoke web1',
    "ferry peers db7 --vouched --volumes 'db7-*' --rights write",
    'ferry peers --vouched --revoke db7',
  ],
} as const;

export const providerCommands: readonly TableEntry[] = [
  entry(serveSpec, () => import('../commands/serve.ts')),
  entry(statusSpec, () => import('../commands/status.ts')),
  entry(promoteSpec, () => import('../commands/promote.ts')),
  entry(peersSpec, () => import('../commands/peers.ts')),
];
