/** Files of sealed change sets: written whole, read whole, never changed. */
import { type Env, FormatError, hasCode, readStateFile } from '../../core/index.ts';
import { TrackError } from '../errors.ts';
import { DirtyMap, type PageBudget } from './dirty-map.ts';
import { STATE_BYTES_MAX } from './limits.ts';
import {
  decodeEmpties,
  decodeFileHeader,
  decodePage,
  decodeRecords,
  encodeEmpties,
  encodePage,
  FILE_SET,
  type PageMarks,
  RECORD_EMPTY,
  RECORD_END,
  RECORD_PAGE,
  type Record,
} from './record.ts';
import { writeWhole } from './record-log.ts';
import type { Shape } from './shape.ts';
import type { Sealed } from './state.ts';

export function setName({ from, to }: Sealed): string {
  return `set-${from}-${to}`;
}

/** Pages of every region that is not clean, then the empty stretches. */
export function* mapRecords(map: DirtyMap): Generator<Record> {
  for (let region = 0; region < map.shape.regionCount; region++) {
    if (!map.isDirty(region)) continue;
    yield { type: RECORD_PAGE, payload: encodePage(region, marksOf(map, region)) };
  }
  yield { type: RECORD_EMPTY, payload: encodeEmpties(map.empties()) };
}

export function marksOf(map: DirtyMap, region: number): PageMarks {
  if (!map.isDirty(region)) return 'clean';
  return map.wordsOf(region) ?? (map.isUnsure(region) ? 'unsure' : 'whole');
}

export function putMarks(map: DirtyMap, region: number, marks: PageMarks): void {
  if (marks === 'clean') return;
  if (typeof marks === 'string') map.markRegion(region, marks === 'unsure');
  else map.addWords(region, marks);
}

/** Durable, its name too, when it settles. */
export async function writeSet(
  env: Env,
  directory: string,
  sealed: Sealed,
  map: DirtyMap,
): Promise<void> {
  const where = { path: `${directory}/${setName(sealed)}`, kind: FILE_SET, shape: map.shape };
  const writer = await writeWhole(env, where, mapRecords(map));
  await writer.close();
  await env.files.syncDirectory(directory);
}

/** TRACK_STATE if it is gone or damaged: whoever needs it compares everything. */
export async function readSet(
  env: Env,
  directory: string,
  sealed: Sealed,
  shape: Shape,
  budget: PageBudget,
): Promise<DirtyMap> {
  const path = `${directory}/${setName(sealed)}`;
  const map = new DirtyMap(shape, budget);
  try {
    const bytes = await readStateFile(env, path, STATE_BYTES_MAX);
    if (bytes === undefined) throw new FormatError('it is gone');
    fill(map, bytes);
    return map;
  } catch (error) {
    map.release();
    if (!hasCode(error, 'FORMAT_INVALID')) throw error;
    throw new TrackError('TRACK_STATE', `${path} cannot be read: ${(error as Error).message}`, {
      hint: 'The next backup compares everything; look whether the disk below is sound.',
      cause: error,
    });
  }
}

function fill(map: DirtyMap, bytes: Uint8Array): void {
  const { kind, sizeBytes, nonce } = decodeFileHeader(bytes);
  if (kind !== FILE_SET || sizeBytes !== map.shape.sizeBytes) {
    throw new FormatError('it belongs to another volume');
  }
  const room = new Uint32Array(map.shape.wordsPerRegion);
  for (const { type, payload } of decodeRecords(bytes, nonce)) {
    if (type === RECORD_PAGE) {
      const { region, marks } = decodePage(payload, map.shape, room);
      putMarks(map, region, marks);
    } else if (type === RECORD_EMPTY) {
      for (const { kind, offsetBytes, lengthBytes } of decodeEmpties(payload)) {
        map.markEmpty(kind, offsetBytes, lengthBytes);
      }
    } else if (type === RECORD_END) return;
  }
  throw new FormatError('it is cut short');
}
