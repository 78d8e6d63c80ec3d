/** Repairs what a repository cannot be opened without: its superblock, and the chain of its log. */
import { FerryError, hasCode, sha256, toHex } from '../core/index.ts';
import type { ObjectStore } from '../objects/index.ts';
import { checkpointKey, readCheckpoint, sealCheckpoint } from './checkpoint.ts';
import { unsealJson } from './envelope.ts';
import { damagedObject, StoreError } from './errors.ts';
import { JsonFields } from './json.ts';
import { SMALL_OBJECT_BYTES_MAX } from './limits.ts';
import { logKey, NO_PREVIOUS, unsealEntry } from './log-entry.ts';
import { LogState } from './log-state.ts';
import { copyObject, quarantine, replaceObject } from './quarantine.ts';
import type { SealedObjects, Sealer } from './sealer.ts';
import { readSuperblock, superblockKeys } from './superblock.ts';

/** What a repair did, would do, or cannot do. */
export type RepairNote = {
  readonly action: 'mended' | 'replaced' | 'set-aside' | 'rewritten' | 'taken' | 'rebuilt' | 'lost';
  readonly object: string;
  readonly message: string;
};

export type BaseRepair = {
  readonly objects: ObjectStore;
  /** A mirror of the same repository, or another one, which has no log entries for this. */
  readonly from: ObjectStore | undefined;
  readonly dryRun: boolean;
  readonly notes: RepairNote[];
};

/** STORE_DAMAGED when no copy of the superblock is whole anywhere. */
export async function repairSuperblock({
  objects,
  from,
  dryRun,
  notes,
}: BaseRepair): Promise<void> {
  const copies = await Promise.all(superblockKeys.map((key) => bytesOf(objects, key)));
  const whole = copies.find((bytes, at) => bytes !== undefined && parses(bytes, at));
  const good = whole ?? (from && (await superblockOfMirror(objects, from)));
  if (good === undefined) {
    await readSuperblock(objects); // Says what is wrong.
    return;
  }
  for (const [at, key] of superblockKeys.entries()) {
    const bytes = copies[at];
    if (bytes !== undefined && Buffer.compare(bytes, good) === 0) continue;
    const source = whole === undefined ? 'the other repository' : 'the other copy';
    notes.push({ action: 'replaced', object: key, message: `${key}: replaced by ${source}` });
    if (!dryRun) await replaceObject(objects, key, good);
  }
}

function parses(bytes: Uint8Array, at: number): boolean {
  const key = superblockKeys[at]!;
  try {
    return new JsonFields(unsealJson('superblock', bytes, key), key).has('repositoryId');
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    return false;
  }
}

/** Only a mirror has the same log; any other superblock would make it another repository. */
async function superblockOfMirror(
  objects: ObjectStore,
  from: ObjectStore,
): Promise<Uint8Array | undefined> {
  const [ours, theirs] = [await bytesOf(objects, logKey(1)), await bytesOf(from, logKey(1))];
  if (ours === undefined || theirs === undefined || Buffer.compare(ours, theirs) !== 0) {
    return undefined;
  }
  const bytes = await bytesOf(from, superblockKeys[0]);
  return bytes !== undefined && parses(bytes, 0) ? bytes : undefined;
}

async function bytesOf(objects: ObjectStore, key: string): Promise<Uint8Array | undefined> {
  try {
    return await objects.get(key, SMALL_OBJECT_BYTES_MAX);
  } catch (error) {
    if (hasCode(error, 'OBJECT_NOT_FOUND') || hasCode(error, 'OBJECT_RANGE')) return undefined;
    throw error;
  }
}

type Entry = { readonly hash: string; readonly previous: string };

/** Damaged ones from a mirror; one that is gone only if none is left: it may have been removed. */
export async function repairKeys({ objects, from, dryRun, notes }: BaseRepair): Promise<void> {
  if (from === undefined) return;
  const [ours, theirs] = [
    await bytesOf(objects, superblockKeys[0]),
    await bytesOf(from, superblockKeys[0]),
  ];
  if (ours === undefined || theirs === undefined || Buffer.compare(ours, theirs) !== 0) return;
  const whole = new Set<string>();
  const there = new Set<string>();
  for await (const { key } of objects.list('keys/')) {
    there.add(key);
    if (isKey(await bytesOf(objects, key), key)) whole.add(key);
  }
  for await (const { key } of from.list('keys/')) {
    if (whole.has(key) || (!there.has(key) && whole.size > 0)) continue;
    const bytes = await bytesOf(from, key);
    if (bytes === undefined || !isKey(bytes, key)) continue;
    const message = `${key}: replaced by that of the other repository`;
    notes.push({ action: 'replaced', object: key, message });
    if (!dryRun) await replaceObject(objects, key, bytes);
  }
}

function isKey(bytes: Uint8Array | undefined, key: string): boolean {
  try {
    return bytes !== undefined && unsealJson('key', bytes, key) !== undefined;
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    return false;
  }
}

export type LogRepair = BaseRepair & { readonly objects: SealedObjects };

/** The superblock is whole, and the repository unlocked. */
export async function repairLog(repair: LogRepair): Promise<void> {
  const { objects } = repair;
  const { sealer } = objects;
  const end = await lastEntry(objects);
  const entries: (Entry | undefined)[] = [];
  for (let sequence = 1; sequence <= end; sequence++) {
    entries.push(parsed(sealer, await bytesOf(objects, logKey(sequence)), logKey(sequence)));
  }
  let unreadable = 0;
  for (let at = 0; at < end; at++) {
    const before = at === 0 ? NO_PREVIOUS : entries[at - 1]?.hash;
    const wanted = entries[at + 1]?.previous;
    const found = entries[at];
    const follows = found !== undefined && (before === undefined || found.previous === before);
    if (follows && (wanted === undefined || found.hash === wanted)) continue;
    // Of two that do not fit, the one that its other neighbour confirms stays.
    if (follows && at + 2 < end && entries[at + 2]?.previous !== entries[at + 1]?.hash) continue;
    entries[at] = await replaceEntry(repair, at + 1, { before, wanted });
    if (entries[at] === undefined) unreadable = at + 1;
  }
  if (unreadable > 0) await passOver(repair, unreadable, end);
}

async function lastEntry(objects: ObjectStore): Promise<number> {
  let last = 0;
  for await (const { key } of objects.list('log/')) {
    const sequence = Number(key.slice('log/'.length));
    if (key === logKey(sequence)) last = Math.max(last, sequence);
  }
  // A listing may be stale.
  while ((await bytesOf(objects, logKey(last + 1))) !== undefined) last++;
  return last;
}

function parsed(sealer: Sealer, bytes: Uint8Array | undefined, key: string): Entry | undefined {
  if (bytes === undefined) return undefined;
  try {
    const { previous, sequence } = unsealEntry(sealer, bytes, key);
    if (logKey(sequence) !== key) return undefined; // It belongs elsewhere.
    return { hash: toHex(sha256(bytes)), previous };
  } catch (error) {
    if (!(error instanceof StoreError) || error.code === 'STORE_VERSION') throw error;
    return undefined;
  }
}

/** From the mirror, if that has the very entry. */
async function replaceEntry(
  { objects, from, dryRun, notes }: LogRepair,
  sequence: number,
  { before, wanted }: { before: string | undefined; wanted: string | undefined },
): Promise<Entry | undefined> {
  const key = logKey(sequence);
  const bytes = from && (await bytesOf(from, key));
  const entry = parsed(objects.sealer, bytes, key);
  if (bytes === undefined || entry === undefined) return undefined;
  const fits = wanted === undefined ? entry.previous === before : entry.hash === wanted;
  if (!fits) return undefined;
  notes.push({
    action: 'replaced',
    object: key,
    message: `${key}: replaced by that of the other repository`,
  });
  if (!dryRun) await replaceObject(objects, key, bytes);
  return entry;
}

/** Makes the log readable again behind an entry that nobody has: by a checkpoint. */
async function passOver(repair: LogRepair, lost: number, end: number): Promise<void> {
  const { objects, dryRun, notes } = repair;
  const newest = await newestCheckpoint(objects);
  const key = logKey(lost);
  if (newest !== undefined && newest.sequence >= lost) {
    const covered = `${key}: nobody has it, but checkpoint ${newest.sequence} says what it said`;
    notes.push({ action: 'lost', object: key, message: `${covered}: nothing else is lost` });
    return;
  }
  const state = newest ?? new LogState();
  for (let sequence = state.sequence + 1; sequence <= end; sequence++) {
    const bytes = await bytesOf(objects, logKey(sequence));
    if (!applied(objects.sealer, state, sequence, bytes)) {
      notes.push({
        action: 'lost',
        object: logKey(sequence),
        message: `${logKey(sequence)}: nobody has it; the snapshot that it named, if any, is lost`,
      });
    }
  }
  notes.push({
    action: 'rebuilt',
    object: checkpointKey(end),
    message: `${checkpointKey(end)}: made from the entries that are whole`,
  });
  if (dryRun) return;
  await quarantine(objects, checkpointKey(end));
  await objects.putIfAbsent(checkpointKey(end), sealCheckpoint(objects.sealer, state));
}

/** Goes on behind what cannot be read as if it had said nothing. */
function applied(
  sealer: Sealer,
  state: LogState,
  sequence: number,
  bytes: Uint8Array | undefined,
): boolean {
  const key = logKey(sequence);
  const hash = bytes === undefined ? NO_PREVIOUS : toHex(sha256(bytes));
  try {
    if (bytes === undefined) throw damagedObject(key, 'it is missing');
    const entry = unsealEntry(sealer, bytes, key);
    // Whether the chain holds was looked at before.
    state.head = entry.previous;
    state.generation = entry.generation - (entry.type === 'generation' ? 1 : 0);
    state.apply(entry, hash);
    return true;
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    state.sequence = sequence;
    state.head = hash;
    return false;
  }
}

async function newestCheckpoint(objects: SealedObjects): Promise<LogState | undefined> {
  const keys: string[] = [];
  for await (const { key } of objects.list('checkpoints/')) keys.push(key);
  for (const key of keys.sort().reverse()) {
    try {
      return await readCheckpoint(objects, key);
    } catch (error) {
      if (!(error instanceof FerryError) || error.code === 'STORE_VERSION') throw error;
    }
  }
  return undefined;
}

/** The pack of a mirror, byte for byte, in place of the one here. */
export async function takePack(
  objects: ObjectStore,
  from: ObjectStore,
  key: string,
): Promise<void> {
  await quarantine(objects, key);
  await copyObject(from, key, objects, key);
}
