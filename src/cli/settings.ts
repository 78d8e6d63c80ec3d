/** What surrounds a command: repository, directories, passwords; flags beat environment. */
import { homedir } from 'node:os';
import { join } from 'node:path';
import { usageError } from './errors.ts';

export type Settings = {
  /** As given: a path or a URL. */
  readonly repository: string | undefined;
  /** Identity, peers, trackers and mount caches of this node. */
  readonly stateDirectory: string;
  /** May be deleted at any time. */
  readonly cacheDirectory: string;
};

/** `variables` is the process's environment; an empty variable counts as absent. */
export function settingsFrom(
  flags: { readonly repo?: string | undefined },
  variables: Readonly<Record<string, string | undefined>>,
): Settings {
  const home = variables.HOME || homedir();
  const stateHome = variables.XDG_STATE_HOME || join(home, '.local', 'state');
  const cacheHome = variables.XDG_CACHE_HOME || join(home, '.cache');
  return {
    repository: flags.repo ?? (variables.FERRY_REPO || undefined),
    stateDirectory: variables.FERRY_STATE_DIR || join(stateHome, 'ferry'),
    cacheDirectory: variables.FERRY_CACHE_DIR || join(cacheHome, 'ferry'),
  };
}

/** The repository that a command cannot do without. */
export function requireRepository(settings: Settings): string {
  if (settings.repository !== undefined) return settings.repository;
  throw usageError('no repository is named: use --repo DIR or set FERRY_REPO');
}
