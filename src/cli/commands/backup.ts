/** `ferry backup`: takes a snapshot of a source. */
import { codecPool, worthThreads } from '../../codec/index.ts';
import { type Env, unlessMissing } from '../../core/index.ts';
import type { Settings } from '../settings.ts';
import type { Run } from '../spec.ts';
import { trackersOf } from '../state-directory.ts';
import type { backupSpec } from '../table/backup.ts';

export const run: Run<typeof backupSpec> = async (context, values) => {
  const { env, settings } = context;
  // They come up while the rest of the code is loaded and the repository opened.
  const early = (await isLargeFile(env, values.source)) && !(await hasTrackers(env, settings));
  await using pool = early
    ? codecPool(env, env.workers.parallelism, { atOnce: true, callerHelps: true })
    : undefined;
  const { takeSnapshot } = await import('../take-snapshot.ts');
  return await takeSnapshot(context, values, pool); // The threads live until then.
};

/** Of anything else it shows once it is open. */
async function isLargeFile(env: Env, source: string): Promise<boolean> {
  try {
    const { kind, sizeBytes } = await env.files.stat(source);
    return kind === 'block-device' || (kind === 'file' && worthThreads(sizeBytes));
  } catch {
    return false; // Whoever opens it says what is wrong.
  }
}

/** Then a little may be all there is to read: threads start when there is work for them. */
async function hasTrackers(env: Env, settings: Settings): Promise<boolean> {
  return (await unlessMissing(env.files.stat(trackersOf(settings)))) !== undefined;
}
