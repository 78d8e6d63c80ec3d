/** Commands that decide which snapshots stay, and give back the room of the others. */
import { PERIOD_FORM, parsePeriod } from '../../core/index.ts';
import { argumentList, entry, flag, type OptionSpec, type TableEntry } from '../spec.ts';

/** A number of snapshots, or all of them. */
function keep(help: string): OptionSpec<number | undefined> {
  return { placeholder: 'N', help, parse: (texts) => keepCount(texts.at(-1)) };
}

function keepCount(written: string | undefined): number | undefined {
  if (written === undefined) return undefined;
  if (written === 'unlimited') return Number.POSITIVE_INFINITY;
  if (/^\d{1,9}$/.test(written)) return Number(written);
  throw new Error(`expected a whole number or 'unlimited', not '${written}'`);
}

const period: OptionSpec<ReturnType<typeof parsePeriod>> = {
  placeholder: 'PERIOD',
  help: `keep what is at most so much older than the newest one: ${PERIOD_FORM}`,
  parse: (texts) => {
    const written = texts.at(-1);
    if (written === undefined) return undefined;
    const parsed = parsePeriod(written);
    if (parsed === undefined) throw new Error(`expected ${PERIOD_FORM}, not '${written}'`);
    return parsed;
  },
};

export function words(placeholder: string, help: string): OptionSpec<readonly string[]> {
  return { placeholder, help, repeats: true, parse: (texts) => texts };
}

/** A policy without its tags. */
export const keepOptions = {
  keepLast: keep('keep the newest N'),
  keepHourly: keep('keep the newest of each of N hours'),
  keepDaily: keep('keep the newest of each of N days'),
  keepWeekly: keep('keep the newest of each of N weeks'),
  keepMonthly: keep('keep the newest of each of N months'),
  keepYearly: keep('keep the newest of each of N years'),
  keepWithin: period,
} as const;

const snapshots = argumentList('VOL@SNAP', 'VOL@latest, VOL@latest~2, VOL@ and digits of an id');

export const forgetSpec = {
  name: 'forget',
  summary: 'remove snapshots: those named, or those that a policy does not keep',
  details: [
    'A policy (--keep-...) goes over all snapshots of each VOL, newest first in the order in which',
    'they were made; one is kept if any rule keeps it. --keep-daily 7 keeps the newest snapshot of',
    'each of the newest 7 days that have one; days, weeks (from Monday), months and years are',
    'those of UTC. What is held is never forgotten. `ferry gc`, or --gc, gives back the room.',
  ].join('\n'),
  arguments: {
    names: argumentList('VOL[@SNAP]', 'a snapshot, or with --keep-... or --all a volume'),
  },
  options: {
    ...keepOptions,
    keepTag: words('TAG', 'keep what has this tag; may be given several times'),
    all: flag('allow that a volume has no snapshot left; with no policy: forget all of VOL'),
    dryRun: flag('only tell what would be forgotten, and why the others would not'),
    gc: flag('give back the room as well, as `ferry gc` does'),
  },
  examples: [
    'ferry forget web --keep-daily 7 --keep-weekly 5 --keep-monthly 12 --dry-run',
    'ferry forget web mail --keep-within 30d --keep-yearly unlimited --gc',
    'ferry forget web@1f3a web@latest~4',
    'ferry forget old-web --all',
  ],
} as const;

export const holdSpec = {
  name: 'hold',
  summary: 'keep snapshots from being forgotten, until they are released',
  arguments: { snapshots },
  options: { release: flag('let them be forgotten again') },
  examples: ['ferry hold web@1f3a', 'ferry hold web@1f3a --release'],
} as const;

export const tagSpec = {
  name: 'tag',
  summary: 'give snapshots words, for --keep-tag and for people',
  arguments: { snapshots },
  options: {
    add: words('TAG', 'give it this tag; may be given several times'),
    remove: words('TAG', 'take this tag away; may be given several times'),
  },
  examples: ['ferry tag web@latest --add before-upgrade', 'ferry tag web@1f3a --remove keep'],
} as const;

export const gcSpec = {
  name: 'gc',
  summary: 'give back the room of what no snapshot needs any more',
  details: [
    'Beside backups, mounts and restores, and other runs of gc. Packs of which less than 60 % is',
    'needed are rewritten, which takes some room for a while; without any room, packs of which',
    'nothing is needed still go. Removes what dead runs have left, packs of interrupted backups',
    'among it. What a backup under way may still use stays until the next run. May be stopped at',
    'any time. In a damaged repository nothing that a snapshot may need is touched: gc refuses.',
    '',
    '--similar also stores as patches what resembles other content of any volume, wherever it lies',
    'there; backups look for that in their own volume only. It reads up to 16 GiB of content, in',
    'packs picked at random, and rewrites those of which at least a tenth is gained: repeat it in',
    'a larger repository. Such content takes longer to restore. --dry-run reads as much.',
  ].join('\n'),
  arguments: {},
  options: {
    dryRun: flag('only tell what would be given back'),
    similar: flag('also store what resembles content of other volumes as patches'),
    breakPin: flag('take readers for dead: mounts of what was forgotten get errors'),
    noPassword: flag('for the host of an encrypted repository: drop packs that nothing needs'),
  },
  examples: ['ferry gc', 'ferry gc --dry-run --json', 'ferry gc --similar'],
} as const;

export const retentionCommands: readonly TableEntry[] = [
  entry(forgetSpec, () => import('../commands/forget.ts')),
  entry(holdSpec, () => import('../commands/hold.ts')),
  entry(tagSpec, () => import('../commands/tag.ts')),
  entry(gcSpec, () => import('../commands/gc.ts')),
];
