/** Which writers and readers live, for garbage collection: this is liveness, not safety. */
import type { Env } from '../core/index.ts';
import type { SealedObjects } from './sealer.ts';
import { type FoundSession, findSessions, holdsLock, type SessionFolder } from './session.ts';

export type Presence = { readonly alive: FoundSession[]; readonly dead: FoundSession[] };

/**
 * A session with a lock lives if somebody holds that; another one if its objects change within
 * `waitMs`. Of the writers in `own` nothing is told.
 */
export async function presentSessions(
  env: Env,
  objects: SealedObjects,
  own: ReadonlySet<string>,
  waitMs: number,
  folder: SessionFolder = 'sessions/',
): Promise<Presence> {
  const found = (await findSessions(objects, folder)).filter(({ state }) => !own.has(state.writer));
  const alive: FoundSession[] = [];
  const dead: FoundSession[] = [];
  const silent: FoundSession[] = [];
  for (const session of found) {
    const { locked } = session.state;
    if (!locked) silent.push(session);
    // Who cannot ask must not say that nobody is there.
    else if (objects.locks === undefined || (await holdsLock(objects, session.state))) {
      alive.push(session);
    } else dead.push(session);
  }
  if (silent.length === 0) return { alive, dead };
  await new Promise<void>((wake) => env.clock.after(waitMs, wake, { keepsProcess: true }));
  const later = new Map(
    (await findSessions(objects, folder)).map((each) => [each.state.writer, each]),
  );
  for (const session of silent) {
    const now = later.get(session.state.writer);
    if (now === undefined) continue; // It has ended.
    if (now.keys.join() === session.keys.join()) dead.push(session);
    else alive.push(now);
  }
  return { alive, dead };
}
