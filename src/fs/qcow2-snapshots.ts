/** The snapshots inside a qcow2 image, and how two states of it differ. */
import type { Device } from '../device/index.ts';
import { damaged } from './errors.ts';
import type { Fields } from './fields.ts';
import { SNAPSHOT_TABLE_BYTES_MAX } from './limits.ts';
import type { DirtyRun } from './qcow2-bitmaps.ts';
import { checkTable, type Qcow2Header, type Qcow2Table } from './qcow2-header.ts';
import { type Qcow2Map, sameCluster } from './qcow2-map.ts';
import { readFields } from './read-bytes.ts';

const HEAD_BYTES = 40;
const EXTRA_WITH_SIZE_BYTES = 16;
const NAME_BYTES_MAX = 65_535;
/** The table is read in pieces: its length is written nowhere. */
const PIECE_BYTES = 64 * 1024;

export type Qcow2Snapshot = {
  readonly id: string;
  readonly name: string;
  readonly table: Qcow2Table;
  /** When it was taken, as QEMU's host believed; with `id` and `name` it tells one from another. */
  readonly seconds: number;
  readonly nanoseconds: number;
};

export async function readQcow2Snapshots(
  file: Device,
  header: Qcow2Header,
): Promise<Qcow2Snapshot[]> {
  const snapshots: Qcow2Snapshot[] = [];
  let at = header.snapshots.offsetBytes;
  const limit = at + SNAPSHOT_TABLE_BYTES_MAX;
  for (let index = 0; index < header.snapshots.count; index++) {
    const what = `${file.name}: snapshot ${index}`;
    const lengthBytes = Math.min(PIECE_BYTES, file.sizeBytes - at);
    if (at > limit) throw damaged(`${file.name}: the table of snapshots is too long`);
    let fields = await readFields(file, { offsetBytes: at, lengthBytes, what }, 'big');
    const ownBytes = HEAD_BYTES + fields.u32(36) + fields.u16(12) + fields.u16(14);
    if (ownBytes > fields.length) {
      if (ownBytes > HEAD_BYTES + 3 * NAME_BYTES_MAX) throw damaged(`${what}: ${ownBytes} bytes`);
      fields = await readFields(file, { offsetBytes: at, lengthBytes: ownBytes, what }, 'big');
    }
    const snapshot = readSnapshot(fields, header);
    checkTable(what, snapshot.table, header);
    snapshots.push(snapshot);
    at += Math.ceil(ownBytes / 8) * 8;
  }
  return snapshots;
}

function readSnapshot(fields: Fields, header: Qcow2Header): Qcow2Snapshot {
  const idBytes = fields.u16(12);
  const nameBytes = fields.u16(14);
  const extraBytes = fields.u32(36);
  const text = new TextDecoder();
  const idAt = HEAD_BYTES + extraBytes;
  // Images of version 2 may leave the size out: it is that of the image then.
  const hasSize = extraBytes >= EXTRA_WITH_SIZE_BYTES;
  return {
    id: text.decode(fields.take(idAt, idBytes)),
    name: text.decode(fields.take(idAt + idBytes, nameBytes)),
    table: {
      l1OffsetBytes: fields.u64(0),
      l1Count: fields.u32(8),
      sizeBytes: hasSize ? fields.u64(HEAD_BYTES + 8) : header.active.sizeBytes,
    },
    seconds: fields.u32(16),
    nanoseconds: fields.u32(20),
  };
}

/**
 * Ranges in which `newer` may differ from `older`, ascending and joined; both are states of one
 * file. A cluster that both have at the same place of the file is the same: as long as a snapshot
 * refers to it, nobody writes to it (its count of references is above one). That holds between two
 * snapshots, and between a snapshot and the present state.
 */
export async function* differingClusters(
  older: Qcow2Map,
  newer: Qcow2Map,
): AsyncGenerator<DirtyRun> {
  const { clusterBytes } = newer.header;
  const { sizeBytes } = newer;
  let start: number | undefined;
  for (let table = 0; table < newer.tableCount; table++) {
    const from = table * newer.tableSpanBytes;
    const isSame =
      table < older.tableCount && older.tableOffset(table) === newer.tableOffset(table);
    const isInside = from + newer.tableSpanBytes <= older.sizeBytes;
    if (isSame && (isInside || older.sizeBytes === sizeBytes)) {
      if (start !== undefined) yield { offsetBytes: start, lengthBytes: from - start };
      start = undefined;
      continue;
    }
    const before = await older.clusters(table);
    const after = await newer.clusters(table);
    const count = Math.ceil(Math.min(newer.tableSpanBytes, sizeBytes - from) / clusterBytes);
    for (let at = 0; at < count; at++) {
      const place = from + at * clusterBytes;
      const a = before?.[at] ?? { kind: 'absent' };
      const b = after?.[at] ?? { kind: 'absent' };
      const isBeyond = place + clusterBytes > older.sizeBytes && older.sizeBytes !== sizeBytes;
      const differs = isBeyond || !sameCluster(a, b);
      if (differs && start === undefined) start = place;
      if (!differs && start !== undefined) {
        yield { offsetBytes: start, lengthBytes: place - start };
        start = undefined;
      }
    }
  }
  if (start !== undefined) yield { offsetBytes: start, lengthBytes: sizeBytes - start };
}
