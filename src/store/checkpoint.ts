/** Checkpoints: what the log amounts to as of one entry, whole or since another checkpoint. */
import { ByteReader, ByteWriter, FormatError } from '../core/index.ts';
import { parseJson, THIRD_VERSION, versionOf } from './envelope.ts';
import { damagedObject } from './errors.ts';
import { JsonFields } from './json.ts';
import {
  CHECKPOINT_BYTES_MAX,
  CHECKPOINT_CHAIN_MAX,
  CHECKPOINT_JSON_BYTES_MAX,
  CHECKPOINT_SNAPSHOTS_MAX,
} from './limits.ts';
import { LogState, type Mark, type SaidState } from './log-state.ts';
import { type SealedObjects, type Sealer, sealObject, unsealObject } from './sealer.ts';
import { snapshotFromJson } from './snapshot.ts';
import { decodeSnapshots, encodeSnapshots } from './snapshot-table.ts';

export function checkpointKey(sequence: number): string {
  return `checkpoints/${String(sequence).padStart(16, '0')}`;
}

/** The checkpoint of this state; without `base` it stands on no other. */
export function sealCheckpoint(sealer: Sealer, state: LogState, base?: Mark): Uint8Array {
  const key = checkpointKey(state.sequence);
  const { fields, snapshots } = state.said(base);
  const { visible, hidden } = encodeSnapshots(snapshots);
  const writer = new ByteWriter(visible.byteLength + hidden.byteLength + 4096);
  for (const part of [new TextEncoder().encode(JSON.stringify(fields)), visible]) {
    writer.varint(part.byteLength);
    writer.put(part);
  }
  writer.put(sealer.hideBytes(key, hidden));
  return sealObject(sealer, 'checkpoint', key, writer.view(), THIRD_VERSION);
}

/** The state that a checkpoint holds, with those it stands on; STORE_DAMAGED if it does not. */
export async function readCheckpoint(objects: SealedObjects, key: string): Promise<LogState> {
  const parts: { key: string; said: SaidState }[] = [];
  let leftBytes = CHECKPOINT_BYTES_MAX;
  let count = 0;
  for (let at = key; ; ) {
    const bytes = await objects.get(at, leftBytes);
    leftBytes -= bytes.byteLength;
    const said = unsealCheckpoint(objects, at, bytes);
    parts.push({ key: at, said });
    count += said.snapshots.length;
    if (count > CHECKPOINT_SNAPSHOTS_MAX) throw damagedObject(at, 'too many snapshots');
    const base = LogState.baseOf(said);
    if (base === 0) break;
    if (checkpointKey(base) >= at || parts.length >= CHECKPOINT_CHAIN_MAX) {
      throw damagedObject(at, 'it stands on a checkpoint that cannot be');
    }
    at = checkpointKey(base);
  }
  const state = new LogState();
  for (const part of parts.reverse()) {
    state.adopt(part.said, part.key);
    if (part.key !== checkpointKey(state.sequence)) {
      throw damagedObject(part.key, 'it bears another name');
    }
  }
  return state;
}

function unsealCheckpoint({ sealer }: SealedObjects, key: string, bytes: Uint8Array): SaidState {
  const payload = unsealObject(sealer, 'checkpoint', key, bytes);
  if (versionOf(bytes) < THIRD_VERSION) {
    if (payload.byteLength > CHECKPOINT_JSON_BYTES_MAX) throw damagedObject(key, 'it is too long');
    const fields = new JsonFields(parseJson(payload, key), key);
    return {
      fields,
      snapshots: fields.objects('snapshots').map((item) => snapshotFromJson(item, sealer)),
    };
  }
  try {
    const reader = new ByteReader(payload);
    const json = reader.take(reader.count(CHECKPOINT_JSON_BYTES_MAX, 'the length of its fields'));
    const fields = new JsonFields(parseJson(json, key), key);
    const visible = reader.take(reader.varint());
    const hidden = sealer.revealBytes(key, reader.take(reader.remaining));
    return { fields, snapshots: decodeSnapshots(visible, hidden, key) };
  } catch (error) {
    if (error instanceof FormatError) throw damagedObject(key, error.message, error);
    throw error;
  }
}
