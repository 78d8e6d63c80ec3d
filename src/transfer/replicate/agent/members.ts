/** Members: one volume, or those of a group, which are cut at one moment and committed together. */
import assert from 'node:assert/strict';
import { hasCode } from '../../../core/index.ts';
import { type ReplicateError, wentBack } from '../errors.ts';
import type { Agent } from './agent.ts';
import type { CutEpoch, EpochSource } from './keep.ts';
import type { Mandate } from './mandate.ts';
import type { RemoteVolume } from './remote-volume.ts';
import type { EpochReport } from './send-epoch.ts';

/** A volume that is to be kept present. */
export type Kept = {
  readonly name: string;
  readonly source: EpochSource;
  /** As what it writes; without it, as the only one who ever did. */
  readonly mandate?: Mandate | undefined;
};

/** A volume of one session. */
export type Member = Kept & { readonly volume: RemoteVolume };

/** All of them are opened at once: the provider takes them for one. REPLICATE_FENCED. */
export async function openMembers(
  agent: Agent,
  all: readonly Kept[],
  groupName: string | undefined,
): Promise<readonly Member[]> {
  const names = all.map(({ name }) => name).sort();
  const group = groupName === undefined ? undefined : { name: groupName, members: names };
  const opened = all.map(async ({ name, source, mandate }): Promise<Member> => {
    const volume = await agent.open(name, source.sizeBytes, { ...mandate?.claim, group });
    return { name, source, mandate, volume };
  });
  const members = await Promise.all(opened);
  await checkMandates(members);
  return members;
}

/** Where a provider has gone back to an older epoch, nothing that was told of it counts. */
export async function renewOlder(
  members: readonly Member[],
  tell: (error: ReplicateError) => void,
): Promise<void> {
  for (const { name, source, volume } of members) {
    const before = source.acknowledgedEpoch?.(volume.replica) ?? 0;
    if (volume.epoch >= before) continue;
    // First: once it has another name there, no later session could know.
    tell(wentBack(name, volume.epoch, before));
    await volume.renew(before);
  }
}

/** Where another side writes one of them, none of them may be written here. */
async function checkMandates(members: readonly Member[]): Promise<void> {
  const isFenced = ({ mandate, volume }: Member) => mandate?.isFencedBy(volume) === true;
  const fenced = members.filter(isFenced);
  if (fenced.length === 0) {
    for (const { mandate, volume, source } of members) await mandate?.opened(volume, source);
    return;
  }
  for (const one of members) if (!isFenced(one)) await one.mandate?.halt();
  const ends = await Promise.allSettled(
    fenced.map(({ mandate, volume, source }) => mandate!.opened(volume, source)),
  );
  throwFirst(ends);
}

/** Whether the provider has all there is, of all of them at one epoch. */
export function isUnchanged(members: readonly Member[]): boolean {
  const { group } = members[0]!.volume.facts;
  const epochs = new Set(members.map(({ volume }) => volume.epoch));
  const isTogether = members.every(({ volume }) => volume.groupName === group?.name);
  if (group !== undefined && (epochs.size > 1 || !isTogether)) return false;
  return members.every(({ source, volume }) => source.isUnchanged?.(volume.held) === true);
}

/** One moment of all of them; undefined if nothing has changed. */
export async function cutMembers(
  members: readonly Member[],
): Promise<readonly CutEpoch[] | undefined> {
  // Each source takes the moment of the call: nothing runs between them.
  const ends = await Promise.allSettled(
    members.map(({ source, volume }) => source.cut(volume.held)),
  );
  const cuts = ends.flatMap((end) =>
    end.status === 'fulfilled' && end.value !== undefined ? [end.value] : [],
  );
  if (cuts.length === members.length) return cuts;
  for (const cut of cuts) await cut[Symbol.asyncDispose]();
  throwFirst(ends);
  assert(members.length === 1, 'a source in a group gives a cut each time');
  return undefined;
}

/** Settles when all of it is durable there, and the provider's state; none of it is otherwise. */
export async function sendMembers(
  members: readonly Member[],
  cuts: readonly CutEpoch[],
): Promise<readonly EpochReport[]> {
  const epoch = Math.max(...members.map(({ volume }) => volume.nextEpoch));
  const sent = members.map(({ volume }, index) =>
    volume.send(cuts[index]!, epoch).catch((error: unknown) => {
      // The others would wait for it for ever.
      for (const other of members) if (other.volume !== volume) other.volume.refused(error);
      throw error;
    }),
  );
  return throwFirst(await Promise.allSettled(sent));
}

/** All of them stop, then the rest is sent, then each is offered. Ends REPLICATE_FENCED. */
export async function handOverMembers(
  members: readonly Member[],
  sendRest: () => Promise<void>,
): Promise<void> {
  const all = members.filter(({ mandate }) => mandate !== undefined);
  let stoppedCount = 0;
  const rest = Promise.withResolvers<void>();
  rest.promise.catch(() => undefined); // Told to each of them.
  const stopped = () => {
    stoppedCount += 1;
    if (stoppedCount === all.length) sendRest().then(rest.resolve, rest.reject);
    return rest.promise;
  };
  const ends = await Promise.allSettled(
    all.map(({ mandate, volume }) =>
      mandate!.handOver(volume, stopped).catch((error: unknown) => {
        rest.reject(error);
        throw error;
      }),
    ),
  );
  const isFenced = ends.some((end) => end.status === 'rejected' && isRefusal(end.reason));
  if (isFenced) for (const { mandate } of all) await mandate!.halt();
  throwFirst(ends);
}

function isRefusal(error: unknown): boolean {
  return hasCode(error, 'REPLICATE_FENCED');
}

function throwFirst<T>(ends: readonly PromiseSettledResult<T>[]): T[] {
  return ends.map((end) => {
    if (end.status === 'rejected') throw end.reason;
    return end.value;
  });
}
