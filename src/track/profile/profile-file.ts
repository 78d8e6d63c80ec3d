/** The file of a profile: written whole, read whole; docs/internals/tracking.md has its bytes. */
import { posix } from 'node:path';
import { type Env, FormatError, readStateFile } from '../../core/index.ts';
import {
  decodeFileHeader,
  decodeJson,
  decodeRecords,
  encodeJson,
  FILE_PROFILE,
  RECORD_END,
  RECORD_PROFILE,
  RECORD_REGIONS,
  RECORD_SAMPLE,
  RECORD_SKETCH,
  type Record,
} from '../tracker/record.ts';
import { writeWhole } from '../tracker/record-log.ts';
import { emptyParts, type ProfileParts } from './access-profile.ts';
import { FIELDS, SUMS } from './known-regions.ts';
import { HALF_LIFE_SECONDS, PROFILE_BYTES_MAX } from './limits.ts';

const NAME = 'profile';
const ENTRY_BYTES = 4 + 8 * FIELDS;
/** A profile may be carried along for so long; what is beyond is no number of ours. */
const SECONDS_MAX = 2 ** 32 - 1;

/** What a file says beside the counts. */
export type Kept = {
  readonly volume: string;
  /** The id of the tracker that it was kept beside. */
  readonly tracker: string;
  /** When it was written, as the host believed: what has passed since then decays. */
  readonly wallMs: number;
  readonly parts: ProfileParts;
};

type Head = Omit<Kept, 'parts'> & {
  readonly halfLifeSeconds: number;
  readonly second: number;
  readonly landmarkSecond: number;
  readonly requestCount: number;
  readonly sums: readonly number[];
};

/** Durable, its name too, when it settles. What it writes is as it was at the call. */
export async function writeProfile(
  env: Env,
  directory: string,
  { volume, tracker, wallMs, parts }: Kept,
): Promise<void> {
  const where = { path: posix.join(directory, NAME), kind: FILE_PROFILE, shape: parts.shape };
  const head: Head = {
    ...{ volume, tracker, wallMs, halfLifeSeconds: HALF_LIFE_SECONDS },
    ...{ second: parts.second, landmarkSecond: parts.landmarkSecond },
    requestCount: parts.totals.requestCount,
    sums: [...parts.totals.sums],
  };
  const records: Record[] = [
    { type: RECORD_PROFILE, payload: encodeJson(head) },
    { type: RECORD_REGIONS, payload: encodeRegions(parts) },
    { type: RECORD_SAMPLE, payload: encodeWords(parts.workingSet.seconds, 'setUint32') },
  ];
  if (parts.sketch !== undefined) {
    records.push({ type: RECORD_SKETCH, payload: encodeWords(parts.sketch.cells, 'setFloat32') });
  }
  const writer = await writeWhole(env, where, records);
  await writer.close();
  await env.files.syncDirectory(directory);
}

/** Undefined if there is none; FORMAT_INVALID if it is damaged, or of a volume of another size. */
export async function readProfile(
  env: Env,
  directory: string,
  sizeBytes?: number,
): Promise<Kept | undefined> {
  const bytes = await readStateFile(env, posix.join(directory, NAME), PROFILE_BYTES_MAX);
  if (bytes === undefined) return undefined;
  const header = decodeFileHeader(bytes);
  if (header.kind !== FILE_PROFILE) throw new FormatError('it is no profile');
  if (sizeBytes !== undefined && header.sizeBytes !== sizeBytes) {
    throw new FormatError(`it is of ${header.sizeBytes} bytes, and the volume has ${sizeBytes}`);
  }
  const empty = emptyParts(header.sizeBytes);
  if (empty.shape.regionBytes !== header.regionBytes) throw otherForm();
  let head: Head | undefined;
  let isWhole = false;
  for (const { type, payload } of decodeRecords(bytes, header.nonce)) {
    if (type === RECORD_PROFILE) head = decodeHead(payload);
    else if (type === RECORD_REGIONS) takeRegions(payload, empty);
    else if (type === RECORD_SAMPLE) takeWords(payload, empty.workingSet.seconds, 'getUint32');
    else if (type === RECORD_SKETCH && empty.sketch !== undefined) {
      takeWords(payload, empty.sketch.cells, 'getFloat32');
    } else if (type === RECORD_END) isWhole = true;
    else throw otherForm();
  }
  if (head === undefined || !isWhole) throw new FormatError('it is cut short');
  empty.totals.sums.set(head.sums);
  empty.totals.requestCount = head.requestCount;
  const { volume, tracker, wallMs, second, landmarkSecond } = head;
  return { volume, tracker, wallMs, parts: { ...empty, second, landmarkSecond } };
}

/** The same, so much later; a clock that was set back, or far forward, is not believed. */
export function laterBy(parts: ProfileParts, passedMs: number): ProfileParts {
  const passed = Math.max(0, Math.floor(passedMs / 1000));
  return { ...parts, second: Math.min(parts.second + passed, SECONDS_MAX) };
}

function encodeRegions({ known }: ProfileParts): Uint8Array {
  const view = new DataView(new ArrayBuffer(known.count * ENTRY_BYTES));
  let at = 0;
  for (const slot of known.slots()) {
    view.setUint32(at, known.keys[slot]!, true);
    for (let field = 0; field < FIELDS; field++) {
      view.setFloat64(at + 4 + 8 * field, known.entries[slot * FIELDS + field]!, true);
    }
    at += ENTRY_BYTES;
  }
  return new Uint8Array(view.buffer);
}

function takeRegions(payload: Uint8Array, { known, shape }: ProfileParts): void {
  if (payload.byteLength % ENTRY_BYTES !== 0) throw otherForm();
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  for (let at = 0; at < payload.byteLength; at += ENTRY_BYTES) {
    const region = view.getUint32(at, true);
    if (region >= shape.regionCount) throw new FormatError(`region ${region} of a smaller volume`);
    const slot = known.free(region);
    if (slot < 0 || known.find(region) >= 0) throw otherForm();
    known.put(slot, region);
    for (let field = 0; field < FIELDS; field++) {
      const value = view.getFloat64(at + 4 + 8 * field, true);
      if (!isAmount(value) || (field >= SUMS && !Number.isInteger(value))) throw otherForm();
      known.entries[slot * FIELDS + field] = value;
    }
  }
}

function encodeWords(
  words: Uint32Array | Float32Array,
  set: 'setUint32' | 'setFloat32',
): Uint8Array {
  const view = new DataView(new ArrayBuffer(words.length * 4));
  for (let at = 0; at < words.length; at++) view[set](4 * at, words[at]!, true);
  return new Uint8Array(view.buffer);
}

function takeWords(
  payload: Uint8Array,
  words: Uint32Array | Float32Array,
  get: 'getUint32' | 'getFloat32',
): void {
  if (payload.byteLength !== words.length * 4) throw otherForm();
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  for (let at = 0; at < words.length; at++) {
    const value = view[get](4 * at, true);
    if (!isAmount(value)) throw otherForm();
    words[at] = value;
  }
}

function decodeHead(payload: Uint8Array): Head {
  const head = decodeJson(payload) as Head;
  const fits =
    typeof head === 'object' &&
    head !== null &&
    typeof head.volume === 'string' &&
    typeof head.tracker === 'string' &&
    Number.isFinite(head.wallMs) &&
    isSecond(head.second) &&
    isSecond(head.landmarkSecond) &&
    head.landmarkSecond <= head.second &&
    Number.isSafeInteger(head.requestCount) &&
    Array.isArray(head.sums) &&
    head.sums.length === emptyParts(0).totals.sums.length &&
    head.sums.every(isAmount);
  if (!fits) throw otherForm();
  if (head.halfLifeSeconds !== HALF_LIFE_SECONDS) {
    throw new FormatError(`its counts halve in ${head.halfLifeSeconds} s`);
  }
  return head;
}

function isSecond(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 1 && (value as number) <= SECONDS_MAX;
}

function isAmount(value: unknown): boolean {
  return Number.isFinite(value) && (value as number) >= 0;
}

function otherForm(): FormatError {
  return new FormatError('the profile of a volume has another form');
}
