/** The repository that flags or environment name, and how its snapshots are called in messages. */
import { hostname } from 'node:os';
import { resolve } from 'node:path';
import type { StateFolder } from '../core/index.ts';
import {
  type HeadOptions,
  headFiles,
  type Repository,
  type Snapshot,
  type UnlockOptions,
} from '../store/index.ts';
import { openRepository, type S3Settings } from '../transfer/repository/index.ts';
import type { Context } from './context.ts';
import type { Fields } from './output.ts';
import { requireRepository } from './settings.ts';
import { makeStateDirectory } from './state-directory.ts';

export type RepositoryOptions = Pick<HeadOptions, 'onRolledBack'> & {
  /** What can be done without it, even if there is one. */
  readonly withoutPassword?: boolean;
  /** Whether copies that this node keeps may be read. */
  readonly cache?: boolean;
  /** False to see damage that parity would undo. */
  readonly heals?: boolean;
};

/** To be disposed by the caller. */
export async function repositoryOf(
  context: Context,
  { withoutPassword = false, cache = true, heals = true, ...heads }: RepositoryOptions = {},
): Promise<Repository> {
  const { env, settings, output } = context;
  const location = requireRepository(settings);
  const known = { heads: { ...headsOf(context), ...heads }, s3: s3Of(context, cache) };
  const unlock = withoutPassword ? { blind: true } : unlockOptions(context);
  const onHealed = (key: string, mendedBytes: number) =>
    output.warn(
      `${key} is damaged, and read with the help of its parity (${mendedBytes} bytes): ` +
        'run ferry check --repair',
    );
  return openRepository(env, location, { ...known, ...unlock, heals, onHealed });
}

/** With the password of flags and environment, or of a person who is asked. */
export function unlockOptions({ secrets }: Pick<Context, 'secrets'>): UnlockOptions {
  return unlockBy(secrets.isGiven, () => secrets.password());
}

/** A second repository: with its own password, or else with that of the first. */
export function unlockSecond(
  { secrets }: Pick<Context, 'secrets'>,
  location: string,
): UnlockOptions {
  const { second } = secrets;
  return unlockBy(second.isGiven, () => second.password(location));
}

function unlockBy(mustBeEncrypted: boolean, ask: () => Promise<string | undefined>): UnlockOptions {
  return {
    secret: async () => {
      const password = await ask();
      return password === undefined ? undefined : { password };
    },
    mustBeEncrypted,
  };
}

/** The repository in another place than settings say; to be disposed by the caller. */
export async function repositoryAt(
  context: Context,
  location: string,
  unlock: UnlockOptions,
  endpoint = context.settings.s3.endpoint,
): Promise<Repository> {
  const { env, settings } = context;
  const own = { ...context, settings: { ...settings, s3: { ...settings.s3, endpoint } } };
  const known = { heads: headsOf(context), s3: s3Of(own, true) };
  return openRepository(env, location, { ...known, ...unlock });
}

/** What an S3 repository takes beside its address. */
export function s3Of(context: Context, cache: boolean): S3Settings {
  const { env, settings, output } = context;
  const { endpoint, region, requestsPerS, cacheBytesMax } = settings.s3;
  const copies = resolve(settings.cacheDirectory, 'objects');
  return {
    access: { endpoint, region },
    pace: { requestsPerS },
    writer: {
      ...stateFolder(context, 'writers'),
      nodeName: hostname(),
      takeOver: settings.takeover,
    },
    ...(cache && {
      cache: {
        directory: copies,
        makeDirectory: () => makeStateDirectory(env.files, copies),
        bytesMax: cacheBytesMax,
        onTrouble: ({ message, hint }) =>
          output.warn(`nothing is kept in the cache: ${message}\n  ${hint}`),
      },
    }),
  };
}

/** A folder below the state directory. */
export function stateFolder(
  { env, settings }: Pick<Context, 'env' | 'settings'>,
  name: string,
): StateFolder {
  const directory = resolve(settings.stateDirectory, name);
  return { directory, makeDirectory: () => makeStateDirectory(env.files, directory) };
}

/** What this node has seen of the logs of repositories. */
export function headsOf({ env, settings, output }: Context): HeadOptions {
  return {
    memory: headFiles(env, stateFolder({ env, settings }, 'heads')),
    onTrouble: ({ message, hint }) =>
      output.warn(`a log that goes back would not be noticed: ${message}\n  ${hint}`),
  };
}

/** Digits of an id that tell snapshots apart in all but enormous repositories. */
const ID_DIGITS = 8;

/** `disk@1a2b3c4d`: what other commands take. */
export function snapshotName({ volume, id }: Pick<Snapshot, 'volume' | 'id'>): string {
  return `${volume}@${id.slice(0, ID_DIGITS)}`;
}

/** `2026-03-01 12:30:05Z`: people compare times of several hosts. */
export function formatTime(time: string): string {
  return time.replace('T', ' ').replace(/\.\d+Z$/, 'Z');
}

/** A snapshot for programs; names and units are fixed. */
export function snapshotFields(snapshot: Snapshot): Fields {
  const { id, volume, time, sizeBytes, changedBytes, storedBytes, source, tags, held } = snapshot;
  const { copyOf } = snapshot;
  const facts = { id, volume, time, sizeBytes, changedBytes, storedBytes, source, tags, held };
  return copyOf === undefined ? facts : { ...facts, copyOf };
}
