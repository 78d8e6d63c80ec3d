/** Sections: the plain bytes of a data message's records, verified, one after the other. */
import {
  checksumOfFrame,
  decodePatch,
  FRAME_RAW_MAX,
  type Frame,
  plainRecord,
  plainSection,
} from '../../../codec/index.ts';
import { equalBytes, Gate, sha256 } from '../../../core/index.ts';
import { ByteCache } from '../../../store/index.ts';
import {
  type BlockData,
  type Entry,
  encodeBlockData,
  hasRecord,
  KIND_DATA,
  KIND_PATCH,
  KIND_PLACED_PATCH,
  type Place,
} from '../../../wire/index.ts';
import { protocolBreach, ReplicateError } from '../errors.ts';
import { frameOf } from '../frames.ts';
import { PARENTS_CACHE_BYTES, WHOLE_AT_ONCE_MAX } from '../limits.ts';
import { checkLength, framed, reading, wrongHash } from '../plain-data.ts';
import { referenceOf } from '../references.ts';

/** Up to the end of its checksum; with less it does not parse. */
const FRAME_HEAD_BYTES = 8;

export type ParentOf = (place: Place) => Promise<Uint8Array>;

/** A message whose content is proven, in the form in which the journal keeps it. */
export type Proven = {
  readonly data: BlockData;
  readonly parts: readonly Uint8Array[];
};

/** Small messages may stand on much, and come by the thousand: credit bounds how many wait. */
export function makingGate(): Gate {
  return new Gate({ limit: WHOLE_AT_ONCE_MAX, waitersMax: Infinity });
}

/**
 * Verifies each record by its hash. Patches are decoded, and the message made anew without them: a
 * journal stands on nothing that may be overwritten. `parentOf` waits for nothing that is still to
 * come, as that may have to be made whole first. REPLICATE_HASH, REPLICATE_PROTOCOL.
 */
export async function prove(data: BlockData, parentOf: ParentOf, making: Gate): Promise<Proven> {
  const entries = data.entries.filter(({ kind }) => hasRecord(kind));
  if (entries.length === 0) return { data, parts: encodeBlockData(data) };
  checkSum(entries);
  const verify = () => verified(data, entries, parentOf);
  return await (entries.some(isPatchEntry) ? making.run(verify) : verify());
}

async function verified(
  data: BlockData,
  entries: readonly Entry[],
  parentOf: ParentOf,
): Promise<Proven> {
  const frame = framed(data, entries.length, isSound(data));
  const plain = reading(() => plainSection(frame));
  const records: Uint8Array[] = [];
  const once = readOnce(parentOf);
  let hasPatches = false;
  for (const [index, record] of frame.records.entries()) {
    const entry = entries[index]!;
    checkLength(entry, record.rawBytes);
    const isPatch = record.parents.length > 0;
    if (isPatch !== isPatchEntry(entry)) throw protocolBreach('a patch that is none');
    const bytes = isPatch ? await patched(frame, index, entry, once) : plainRecord(plain, record);
    hasPatches ||= isPatch || record.storedBytes !== record.rawBytes;
    if (!equalBytes(sha256(bytes), entry.hash!)) throw wrongHash(entry);
    records.push(bytes);
  }
  if (!hasPatches) return { data, parts: encodeBlockData(data) };
  return remade(data, records);
}

/** Compared with that of the message, which is right: a journal's reader looks at its own. */
function isSound({ frame, frameChecksum }: BlockData): boolean {
  if (frameChecksum === undefined || frame.byteLength < FRAME_HEAD_BYTES) return false;
  return frameChecksum === checksumOfFrame(frame);
}

function isPatchEntry({ kind }: Entry): boolean {
  return kind === KIND_PATCH || kind === KIND_PLACED_PATCH;
}

/** Made anew, they are a frame. */
function checkSum(entries: readonly Entry[]): void {
  const total = entries.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0);
  if (total > FRAME_RAW_MAX) throw protocolBreach(`records of ${total} bytes in one message`);
}

/** Patches of one message stand on the same places often. */
function readOnce(parentOf: ParentOf): ParentOf {
  const known = new ByteCache<string, Uint8Array>(PARENTS_CACHE_BYTES);
  return async (place) => {
    const name = `${place.offsetBytes}:${place.lengthBytes}:${place.isNew}`;
    const cached = known.get(name);
    if (cached !== undefined) return cached;
    const bytes = await parentOf(place);
    known.set(name, bytes, bytes.byteLength);
    return bytes;
  };
}

/** Its record names the first of its parents: all others are proven by what comes out. */
async function patched(
  frame: Frame,
  index: number,
  { offsetBytes, lengthBytes, places }: Entry,
  parentOf: ParentOf,
): Promise<Uint8Array> {
  const { parents, at, storedBytes } = frame.records[index]!;
  const [reference, ...more] = parents;
  if (reference === undefined || more.length > 0) throw protocolBreach('a patch of several');
  const known: Uint8Array[] = [];
  for (const place of places ?? [{ offsetBytes, lengthBytes, isNew: false }]) {
    known.push(await parentOf(place));
  }
  if (!equalBytes(referenceOf(known[0]!), reference)) {
    const where = `${lengthBytes} bytes at ${offsetBytes}`;
    throw new ReplicateError('REPLICATE_HASH', `a patch of ${where} is against other content`, {
      hint: 'Nothing was applied; the agent sends them whole.',
    });
  }
  const patch = frame.bytes.subarray(at, at + storedBytes);
  return reading(() => decodePatch(patch, known, lengthBytes)).slice();
}

function remade(data: BlockData, records: readonly Uint8Array[]): Proven {
  const frame = frameOf(records.map((bytes) => ({ kind: 'plain', bytes })));
  const entries = data.entries.map(({ places, ...entry }) =>
    hasRecord(entry.kind) ? { ...entry, kind: KIND_DATA } : entry,
  );
  const whole = { ...data, entries, frame, frameChecksum: checksumOfFrame(frame) };
  return { data: whole, parts: encodeBlockData(whole) };
}
