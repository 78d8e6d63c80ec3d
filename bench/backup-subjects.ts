/** The programs that `bench backup` compares, each with its best settings for disk images. */
import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { ferry } from './package.ts';
import type { Command } from './processes.ts';
import { isInstalled } from './processes.ts';

/** All lies below `directory`, caches and configuration too: nothing of the user's is touched. */
export type Workplace = {
  readonly directory: string;
  /** The image as it is now, always under the same path. */
  readonly image: string;
};

export type Subject = {
  readonly name: string;
  /** Why it cannot run, or undefined if it can. */
  absent(): string | undefined;
  /** What `du` is asked about. */
  repository(place: Workplace): string;
  init(place: Workplace): readonly Command[];
  backup(place: Workplace, generation: string): Command;
  /** Brings `generation` back; the image is then at `restored(place)`. */
  restore(place: Workplace, generation: string): Command;
  restored(place: Workplace): string;
};

export const backupSubjects: readonly Subject[] = [
  blockferry(),
  borg('borg 64K', '65536'),
  borg('borg 4M', '4194304'),
  restic(),
  bup(),
  casync(),
];

function needs(program: string): () => string | undefined {
  return () => (isInstalled(program) ? undefined : `${program} is not installed`);
}

function variablesOf({ directory }: Workplace, more: Record<string, string>) {
  const home = join(directory, 'home');
  mkdirSync(home, { recursive: true });
  return { HOME: home, XDG_CACHE_HOME: join(home, 'cache'), XDG_CONFIG_HOME: home, ...more };
}

function repositoryOf({ directory }: Workplace): string {
  return join(directory, 'repository');
}

function outputOf({ directory }: Workplace): string {
  return join(directory, 'restored.img');
}

function blockferry(): Subject {
  const command = (place: Workplace, ...words: string[]): Command => ({
    words: [ferry, ...words],
    variables: variablesOf(place, {
      FERRY_REPO: repositoryOf(place),
      FERRY_STATE_DIR: join(place.directory, 'state'),
      FERRY_CACHE_DIR: join(place.directory, 'cache'),
    }),
  });
  /** Code that has run before is kept compiled, as it is for the peers; elsewhere, another disk. */
  const warmUp = (place: Workplace): Command[] => {
    const elsewhere = { FERRY_REPO: join(place.directory, 'warm-up') };
    const words = [
      ['init'],
      ['backup', ferry],
      ['restore', 'ferry', join(place.directory, 'warm')],
    ];
    return words.map((each) => {
      const { variables, ...rest } = command(place, ...each);
      return { ...rest, variables: { ...variables, ...elsewhere } };
    });
  };
  return {
    name: 'blockferry',
    absent() {
      const { stdout } = spawnSync(ferry, ['--help'], { encoding: 'utf8' });
      const missing = ['init', 'backup', 'restore'].filter(
        (name) => !stdout.includes(`  ${name} `),
      );
      return missing.length === 0 ? undefined : `no ferry ${missing.join(', ')} yet`;
    },
    repository: repositoryOf,
    init: (place) => [command(place, 'init'), ...warmUp(place)],
    backup: (place) => command(place, 'backup', place.image, '--name', 'disk'),
    restore: (place) => command(place, 'restore', 'disk@latest', outputOf(place)),
    restored: outputOf,
  };
}

function borg(name: string, chunkBytes: string): Subject {
  const command = (place: Workplace, ...words: string[]): Command => ({
    words: ['borg', ...words],
    directory: place.directory,
    variables: variablesOf(place, {
      BORG_BASE_DIR: join(place.directory, 'home'),
      BORG_REPO: repositoryOf(place),
      BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK: 'yes',
    }),
  });
  const chunker = ['--chunker-params', `fixed,${chunkBytes}`];
  return {
    name,
    absent: needs('borg'),
    repository: repositoryOf,
    init: (place) => [command(place, 'init', '--encryption', 'none')],
    backup: (place, generation) =>
      command(
        place,
        'create',
        '--compression',
        'zstd,1',
        ...chunker,
        `::${generation}`,
        place.image,
      ),
    restore: (place, generation) => command(place, 'extract', '--sparse', `::${generation}`),
    restored: ({ directory, image }) => join(directory, image),
  };
}

function restic(): Subject {
  const command = (place: Workplace, ...words: string[]): Command => ({
    words: ['restic', '--quiet', ...words],
    variables: variablesOf(place, {
      RESTIC_REPOSITORY: repositoryOf(place),
      RESTIC_PASSWORD: 'benchmark',
      RESTIC_CACHE_DIR: join(place.directory, 'cache'),
    }),
  });
  const target = (place: Workplace) => join(place.directory, 'restored');
  return {
    name: 'restic',
    absent: needs('restic'),
    repository: repositoryOf,
    init: (place) => [command(place, 'init')],
    backup: (place) => command(place, 'backup', place.image),
    restore: (place) => command(place, 'restore', 'latest', '--target', target(place)),
    restored: (place) => join(target(place), place.image),
  };
}

function bup(): Subject {
  const command = (place: Workplace, ...words: string[]): Command => ({
    words: ['bup', ...words],
    variables: variablesOf(place, { BUP_DIR: repositoryOf(place) }),
  });
  return {
    name: 'bup',
    absent: needs('bup'),
    repository: repositoryOf,
    init: (place) => [command(place, 'init')],
    backup: (place) => command(place, 'split', '--name', 'disk', place.image),
    restore: (place) => ({ ...command(place, 'join', 'disk'), outputPath: outputOf(place) }),
    restored: outputOf,
  };
}

function casync(): Subject {
  const store = (place: Workplace) => `--store=${join(repositoryOf(place), 'chunks')}`;
  const index = (place: Workplace, generation: string) =>
    join(repositoryOf(place), `${generation}.caibx`);
  const command = (place: Workplace, ...words: string[]): Command => ({
    words: ['casync', ...words],
    variables: variablesOf(place, {}),
  });
  return {
    name: 'casync',
    absent: needs('casync'),
    repository: repositoryOf,
    init(place) {
      mkdirSync(repositoryOf(place), { recursive: true });
      return [];
    },
    backup: (place, generation) =>
      command(place, 'make', store(place), index(place, generation), place.image),
    restore: (place, generation) =>
      command(place, 'extract', store(place), index(place, generation), outputOf(place)),
    restored: outputOf,
  };
}
