/** What surrounds a command: repository, directories, passwords; flags beat environment. */
import { homedir } from 'node:os';
import { join } from 'node:path';
import { parseSize, SIZE_FORM } from '../core/index.ts';
import { usageError } from './errors.ts';

export type Settings = {
  /** As given: a path or a URL. */
  readonly repository: string | undefined;
  /** Identity, peers, trackers and mount caches of this node. */
  readonly stateDirectory: string;
  /** May be deleted at any time. */
  readonly cacheDirectory: string;
  /** How S3 is reached; credentials are looked for by the SDK itself, and never held here. */
  readonly s3: {
    readonly endpoint: string | undefined;
    readonly region: string | undefined;
    readonly requestsPerS: number | undefined;
    /** What copies may take on this host, of all repositories together. */
    readonly cacheBytesMax: number;
  };
  /** A person says that whoever wrote to a single-writer repository has stopped. */
  readonly takeover: boolean;
};

/** `variables` is the process's environment; an empty variable counts as absent. */
export function settingsFrom(
  flags: {
    readonly repo?: string | undefined;
    readonly endpoint?: string | undefined;
    readonly takeover?: boolean;
  },
  variables: Readonly<Record<string, string | undefined>>,
): Settings {
  if (flags.repo === '') throw usageError('--repo is empty: name a directory');
  const home = variables.HOME || homedir();
  const stateHome = variables.XDG_STATE_HOME || join(home, '.local', 'state');
  const cacheHome = variables.XDG_CACHE_HOME || join(home, '.cache');
  return {
    repository: flags.repo ?? (variables.FERRY_REPO || undefined),
    stateDirectory: variables.FERRY_STATE_DIR || join(stateHome, 'ferry'),
    cacheDirectory: variables.FERRY_CACHE_DIR || join(cacheHome, 'ferry'),
    s3: {
      endpoint:
        flags.endpoint ??
        (variables.AWS_ENDPOINT_URL_S3 || variables.AWS_ENDPOINT_URL || undefined),
      region: variables.AWS_REGION || variables.AWS_DEFAULT_REGION || undefined,
      requestsPerS: rateOf(variables.FERRY_S3_REQUESTS_PER_S),
      cacheBytesMax: cacheSizeOf(variables.FERRY_CACHE_SIZE || '1G'),
    },
    takeover: flags.takeover ?? false,
  };
}

function cacheSizeOf(written: string): number {
  const bytes = parseSize(written);
  if (bytes !== undefined) return bytes;
  throw usageError(`FERRY_CACHE_SIZE is '${written}', not a size: write ${SIZE_FORM}`);
}

function rateOf(written: string | undefined): number | undefined {
  if (!written) return undefined;
  const rate = Number(written);
  if (rate > 0 && Number.isFinite(rate)) return rate;
  throw usageError(`FERRY_S3_REQUESTS_PER_S is '${written}', not a number above 0`);
}

/** The repository that a command cannot do without. */
export function requireRepository(settings: Settings): string {
  if (settings.repository !== undefined) return settings.repository;
  throw usageError('no repository is named: use --repo DIR or set FERRY_REPO');
}
