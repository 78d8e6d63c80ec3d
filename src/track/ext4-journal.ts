/** What the journals of ext4 tell of a disk: bare, or in its partitions. */
import type { Extent } from '../core/index.ts';
import { type Device, slice } from '../device/index.ts';
import { FsError, looksLikeExt4, openExt4, readPartitions } from '../fs/index.ts';
import type { Snapshot } from '../store/index.ts';
import {
  type CannotSayReason,
  type ChangeAnswer,
  type ChangeQuestion,
  type ChangeSource,
  cannotSay,
  type Finish,
} from './change-source.ts';
import { ChangedUnits } from './changed-units.ts';
import { ext4Changes } from './ext4-changes.ts';
import {
  attempted,
  type Ext4Facts,
  isSame,
  isUntouched,
  logSince,
  parseExt4Facts,
  type Settled,
  settledFacts,
} from './ext4-facts.ts';
import type { Forgotten, SourceMemory } from './source-memory.ts';

/** One file system, where it lies, and how it was when the snapshot was made. */
type Kept = Extent & { readonly facts: Ext4Facts };

/** Ascending; what lies between and behind is no ext4, and always counts as changed. */
export type JournalMemory = { readonly systems: readonly Kept[] };

export function parseJournalMemory(value: unknown): JournalMemory | undefined {
  const { systems } = Object(value);
  if (!Array.isArray(systems)) return undefined;
  for (const system of systems) {
    const { offsetBytes, lengthBytes, facts } = Object(system);
    if (!Number.isSafeInteger(offsetBytes) || !Number.isSafeInteger(lengthBytes)) return undefined;
    if (parseExt4Facts(facts) === undefined) return undefined;
  }
  return { systems };
}

export type Ext4JournalOptions = {
  readonly memory: SourceMemory<JournalMemory>;
  /** The snapshot that changes are counted from, to be read; nobody disposes it. */
  readonly open: (snapshot: Snapshot) => Promise<Device>;
  /** Somebody asked for this source: what it cannot see they take upon themselves. */
  readonly isChosen: boolean;
};

export function ext4JournalSource(options: Ext4JournalOptions): ChangeSource {
  return {
    name: 'journal',
    async changes(question) {
      const answer = await attempted(() => ask(options, question));
      return 'why' in answer && !('kind' in answer) ? refused(answer) : answer;
    },
  };
}

/** Where file systems are that may be ext4; none if nothing looks like that. */
export async function ext4Places(device: Device): Promise<Extent[]> {
  const table = await readPartitions(device);
  const places = table?.partitions ?? [];
  const whole = { offsetBytes: 0, lengthBytes: device.sizeBytes };
  const found: Extent[] = [];
  if (places.length > 0 && (await looksLikeExt4(device))) {
    throw new FsError('FS_UNSUPPORTED', `${device.name} has partitions, and is ext4 itself`, {
      hint: 'One of the two is left over; remove its signature (wipefs).',
    });
  }
  for (const place of places.length === 0 ? [whole] : places) {
    const { offsetBytes, lengthBytes } = place;
    if (await looksLikeExt4(part(device, place))) found.push({ offsetBytes, lengthBytes });
  }
  return found;
}

function part(device: Device, { offsetBytes, lengthBytes }: Extent): Device {
  return slice(device, { offsetBytes, lengthBytes });
}

async function ask(options: Ext4JournalOptions, question: ChangeQuestion): Promise<ChangeAnswer> {
  const { memory, isChosen } = options;
  const { device, since } = question;
  const places = await ext4Places(device);
  if (places.length === 0) return cannotSay('journal', 'absent', 'it holds no ext4 file system');
  const settled: (Settled & Extent)[] = [];
  for (const place of places) {
    const found = await settledAt(device, place);
    if ('reason' in found) return refused(found);
    settled.push({ ...place, ...found });
  }
  const finish = finisher(options, device, settled);
  if (!isChosen && since !== undefined) {
    const why = 'it does not see what others write past ext4; --changes journal asks it';
    return cannotSay('journal', 'unwanted', why, { finish });
  }
  const kept = await memory.recall(since);
  if ('reason' in kept) return refused(kept, finish);
  const told = await changesSince(options, question, kept.value, settled);
  if ('reason' in told) return refused(told, finish);
  return {
    kind: 'changes',
    source: 'journal',
    precision: 'superset',
    changed: told,
    reason: `what ext4 logged since ${since!.volume}@${since!.id.slice(0, 8)}, and what is free`,
    finish,
  };
}

function refused({ reason, why }: { reason: CannotSayReason; why: string }, finish?: Finish) {
  return cannotSay('journal', reason, why, finish && { finish });
}

function settledAt(device: Device, place: Extent, known?: Ext4Facts): Promise<Settled | Forgotten> {
  return attempted<Settled | Forgotten>(async () =>
    settledFacts(await openExt4(part(device, place)), known),
  );
}

/** What was read must be what the facts are of: nobody may have mounted it meanwhile. */
function finisher(
  { memory }: Ext4JournalOptions,
  device: Device,
  settled: readonly (Settled & Extent)[],
): Finish {
  return async (outcome) => {
    if (outcome.kind !== 'committed') return;
    const systems: Kept[] = [];
    for (const { offsetBytes, lengthBytes, facts } of settled) {
      const again = await settledAt(device, { offsetBytes, lengthBytes }, facts);
      if (!('facts' in again) || !isSame(again.facts, facts)) return;
      systems.push({ offsetBytes, lengthBytes, facts });
    }
    await memory.remember(outcome.snapshot, { systems });
  };
}

async function changesSince(
  { open }: Ext4JournalOptions,
  { device, since, signal }: ChangeQuestion,
  { systems }: JournalMemory,
  settled: readonly (Settled & Extent)[],
): Promise<ChangedUnits | Forgotten> {
  if (device.sizeBytes !== since!.sizeBytes) {
    const why = `${device.name} has ${device.sizeBytes} bytes, ${since!.sizeBytes} before`;
    return { reason: 'resized', why };
  }
  const isThere = ({ offsetBytes, lengthBytes }: Extent, index: number) =>
    systems[index]?.offsetBytes === offsetBytes && systems[index].lengthBytes === lengthBytes;
  if (systems.length !== settled.length || !settled.every(isThere)) {
    return { reason: 'replaced', why: `${device.name} has other partitions than the last time` };
  }
  const snapshot = await open(since!);
  const changed = new ChangedUnits(device.sizeBytes);
  let end = 0;
  for (const [index, system] of settled.entries()) {
    const { offsetBytes, lengthBytes, log } = system;
    changed.add({ offsetBytes: end, lengthBytes: offsetBytes - end });
    end = offsetBytes + log.fs.super.blockCount * log.fs.super.blockBytes;
    const { facts } = systems[index]!;
    if (isUntouched(facts, system.facts)) continue;
    const walk = await logSince(facts, system);
    if ('reason' in walk) return walk;
    const before = await openExt4(part(snapshot, { offsetBytes, lengthBytes }));
    for await (const range of ext4Changes({ before, log, walk })) {
      signal?.throwIfAborted();
      changed.add({ ...range, offsetBytes: offsetBytes + range.offsetBytes });
    }
  }
  changed.add({ offsetBytes: end, lengthBytes: device.sizeBytes - end });
  return changed;
}
