/** Schedule: snapshots of what changes, at an interval; and which of the older ones are kept. */
import { type Env, pause } from '../core/index.ts';
import { isEmptyPolicy, type RetentionPolicy, retention } from '../store/index.ts';
import { codeOf, nameOf } from './counts.ts';
import type { Log } from './log.ts';
import type { Tenant } from './tenant.ts';

export type ScheduleOptions = {
  readonly everyMs: number;
  /** Without rules nothing is forgotten. */
  readonly keep: RetentionPolicy;
  readonly log: Log;
};

/** Goes on until `signal` is aborted; what fails is logged, and tried again at its next time. */
export async function runSchedule(
  env: Env,
  tenants: readonly Tenant[],
  { everyMs, keep, log }: ScheduleOptions,
  signal: AbortSignal,
): Promise<void> {
  for (;;) {
    await pause(env, everyMs, signal);
    if (signal.aborted) return;
    for (const tenant of tenants) {
      for (const { volume } of await tenant.provider.list()) {
        if (signal.aborted) return;
        try {
          if (await snapshotOf(tenant, volume)) await forgetOlder(tenant, volume, keep, log);
        } catch (error) {
          const fields = { event: 'schedule', tenant: tenant.name, volume, code: codeOf(error) };
          log.warn(fields, `no snapshot of ${nameOf(tenant.name, volume)} was made: ${error}`);
        }
      }
    }
  }
}

/** False if nothing has changed since the newest one. */
async function snapshotOf({ provider }: Tenant, volume: string): Promise<boolean> {
  const replica = await provider.known(volume);
  if (replica === undefined || !replica.isChanged) return false;
  await replica.assemble();
  return true;
}

/** The one on which the replica stands stays in any case, as what is held does. */
async function forgetOlder(
  { name, provider }: Tenant,
  volume: string,
  keep: RetentionPolicy,
  log: Log,
): Promise<void> {
  if (isEmptyPolicy(keep)) return;
  const { repository } = provider;
  await repository.refresh();
  const base = (await provider.known(volume))?.snapshot?.id;
  const gone = retention(repository.snapshots(volume), keep)
    .filter(({ reasons, snapshot }) => reasons.length === 0 && snapshot.id !== base)
    .map(({ snapshot }) => snapshot);
  if (gone.length === 0) return;
  await repository.forget(gone);
  const fields = { event: 'forgotten', tenant: name, volume, snapshots: gone.length };
  log.info(fields, `${nameOf(name, volume)}: ${gone.length} older snapshots forgotten`);
}
