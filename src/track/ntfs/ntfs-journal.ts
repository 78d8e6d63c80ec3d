/** What the journals of NTFS tell of a disk: bare, or in its partitions. Experimental. */
import type { Bitmap, Extent } from '../../core/index.ts';
import { type Device, slice } from '../../device/index.ts';
import { ntfsPlaces } from '../../fs/index.ts';
import { openNtfs } from '../../fs/ntfs/index.ts';
import type { Snapshot } from '../../store/index.ts';
import {
  type ChangeAnswer,
  type ChangeQuestion,
  type ChangeSource,
  cannotSay,
  type Finish,
} from '../change-source.ts';
import { attempted } from '../ext4-facts.ts';
import type { Forgotten, SourceMemory } from '../source-memory.ts';
import { unchangedClusters } from './changes.ts';
import {
  isSame,
  logSince,
  type NtfsFacts,
  parseNtfsFacts,
  type Settled,
  settledFacts,
} from './facts.ts';

type Kept = Extent & { readonly facts: NtfsFacts };

/** Volumes that were settled, ascending. */
export type NtfsMemory = { readonly volumes: readonly Kept[] };

export function parseNtfsMemory(value: unknown): NtfsMemory | undefined {
  const { volumes } = Object(value);
  if (!Array.isArray(volumes)) return undefined;
  for (const volume of volumes) {
    const { offsetBytes, lengthBytes, facts } = Object(volume);
    if (!Number.isSafeInteger(offsetBytes) || !Number.isSafeInteger(lengthBytes)) return undefined;
    if (parseNtfsFacts(facts) === undefined) return undefined;
  }
  return { volumes };
}

export type NtfsJournalOptions = {
  readonly memory: SourceMemory<NtfsMemory>;
  /** The snapshot that changes are counted from, to be read; nobody disposes it. */
  readonly open: (snapshot: Snapshot) => Promise<Device>;
  /** Somebody asked for this source: what it cannot see they take upon themselves. */
  readonly isChosen: boolean;
};

export function ntfsJournalSource(options: NtfsJournalOptions): ChangeSource {
  return {
    name: 'journal',
    async changes(question) {
      const answer = await attempted(() => ask(options, question));
      return 'why' in answer && !('kind' in answer) ? refused(answer) : answer;
    },
  };
}

type Place = Extent & { readonly found: Settled | Forgotten };

async function ask(options: NtfsJournalOptions, question: ChangeQuestion): Promise<ChangeAnswer> {
  const { memory, isChosen } = options;
  const { device, since } = question;
  const places: Place[] = [];
  for (const place of await ntfsPlaces(device)) {
    places.push({ ...place, found: await settledAt(device, place) });
  }
  const first = places[0]?.found;
  if (first === undefined) return cannotSay('journal', 'absent', 'it holds no NTFS volume');
  const settled = places.filter(isSettled);
  if (settled.length === 0) return refused(first as Forgotten);
  const finish = finisher(options, device, settled);
  if (!isChosen && since !== undefined) {
    const why = 'what it says of NTFS is experimental; --changes journal asks it';
    return cannotSay('journal', 'unwanted', why, { finish });
  }
  const kept = await memory.recall(since);
  if ('reason' in kept) return refused(kept, finish);
  if (device.sizeBytes !== since!.sizeBytes) {
    const why = `${device.name} has ${device.sizeBytes} bytes, ${since!.sizeBytes} before`;
    return refused({ reason: 'resized', why }, finish);
  }
  const told = await changesSince(options, question, kept.value, places);
  if ('reason' in told) return refused(told, finish);
  return {
    kind: 'changes',
    source: 'journal',
    precision: 'superset',
    changed: told.changed,
    reason: [`what NTFS logged since ${since!.volume}@${since!.id.slice(0, 8)}, and what is free`]
      .concat(told.whole.map(({ why }) => `read whole: ${why}`))
      .join('; '),
    finish,
  };
}

function isSettled(place: Place): place is Extent & { readonly found: Settled } {
  return 'facts' in place.found;
}

function refused({ reason, why }: Forgotten, finish?: Finish) {
  return cannotSay('journal', reason, why, finish && { finish });
}

function part(device: Device, place: Extent): Device {
  return place.lengthBytes === device.sizeBytes ? device : slice(device, place);
}

function settledAt(device: Device, place: Extent): Promise<Settled | Forgotten> {
  return attempted<Settled | Forgotten>(async () =>
    settledFacts(await openNtfs(part(device, place))),
  );
}

/** What was read must be what the facts are of: nobody may have mounted it meanwhile. */
function finisher(
  { memory }: NtfsJournalOptions,
  device: Device,
  settled: readonly (Extent & { readonly found: Settled })[],
): Finish {
  return async (outcome) => {
    if (outcome.kind !== 'committed') return;
    const volumes: Kept[] = [];
    for (const { offsetBytes, lengthBytes, found } of settled) {
      const again = await settledAt(device, { offsetBytes, lengthBytes });
      if (!('facts' in again) || !isSame(again.facts, found.facts)) continue;
      volumes.push({ offsetBytes, lengthBytes, facts: found.facts });
    }
    if (volumes.length > 0) await memory.remember(outcome.snapshot, { volumes });
  };
}

type Told = { readonly changed: Iterable<Extent>; readonly whole: readonly Forgotten[] };

/** A volume of which nothing can be said is read whole; if that is each, nobody can say. */
async function changesSince(
  { open }: NtfsJournalOptions,
  { device, since, signal }: ChangeQuestion,
  { volumes }: NtfsMemory,
  places: readonly Place[],
): Promise<Told | Forgotten> {
  const snapshot = await open(since!);
  const whole: Forgotten[] = [];
  const unchanged: Unchanged[] = [];
  for (const { offsetBytes, lengthBytes, found } of places) {
    const kept = volumes.find(
      (each) => each.offsetBytes === offsetBytes && each.lengthBytes === lengthBytes,
    );
    const clusters = await attempted(async () => {
      if (!('facts' in found)) return found;
      if (kept === undefined) return unknown(found);
      const walk = await logSince(kept.facts, found);
      if ('reason' in walk) return walk;
      const before = await openNtfs(part(snapshot, { offsetBytes, lengthBytes }));
      return unchangedClusters({ before, facts: kept.facts, now: found, walk, signal });
    });
    if ('reason' in clusters) whole.push(clusters);
    else {
      const { clusterBytes } = (found as Settled).facts;
      unchanged.push({ offsetBytes, clusterBytes, clusters });
    }
  }
  if (unchanged.length === 0) return whole[0]!;
  return { changed: outside(unchanged, device.sizeBytes), whole };
}

function unknown({ ntfs }: Settled): Forgotten {
  return { reason: 'replaced', why: `${ntfs.device.name} was not known at the last snapshot` };
}

type Unchanged = {
  readonly offsetBytes: number;
  readonly clusterBytes: number;
  readonly clusters: Bitmap;
};

/** All but that, ascending. */
function* outside(volumes: readonly Unchanged[], sizeBytes: number): Generator<Extent> {
  let end = 0;
  for (const { offsetBytes, clusterBytes, clusters } of volumes) {
    for (let from = clusters.nextSet(0); from < clusters.size; ) {
      const to = clusters.nextClear(from);
      const start = offsetBytes + from * clusterBytes;
      if (start > end) yield { offsetBytes: end, lengthBytes: start - end };
      end = offsetBytes + to * clusterBytes;
      from = clusters.nextSet(to);
    }
  }
  if (sizeBytes > end) yield { offsetBytes: end, lengthBytes: sizeBytes - end };
}
