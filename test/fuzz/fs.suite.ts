/** Mutated real images against the parsers of src/fs: they answer, or say what is wrong. */
import assert from 'node:assert/strict';
import { Draws } from '../../sim/index.ts';
import type { Device } from '../../src/device/index.ts';
import {
  differingClusters,
  dirtyRuns,
  FsError,
  fileRuns,
  findCommit,
  openExt4,
  openJbd2,
  qcow2Device,
  readPartitions,
  readQcow2Bitmaps,
  readQcow2Header,
  readQcow2Map,
  readQcow2Snapshots,
  walkLog,
} from '../../src/fs/index.ts';
import {
  ATTRIBUTE,
  LogRecords,
  lastUsnBefore,
  openLogFile,
  openNtfs,
  openUsnJournal,
  usnRecords,
} from '../../src/fs/ntfs/index.ts';
import { deviceOf, type ImageName, imageBytes } from '../golden/images/images.ts';
import { Windows } from '../golden/images/windows.ts';
import type { FuzzTarget } from './target.ts';

/** More than any of the images needs; a parser that exceeds it would not end. */
const READS_MAX = 20_000;
const RUNS_MAX = 100_000;

type Parse = (device: Device, draws: Draws) => Promise<void>;

const images: readonly { readonly name: ImageName; readonly parse: Parse }[] = [
  { name: 'clusters.qcow2', parse: parseQcow2 },
  { name: 'parts.qcow2', parse: parseQcow2 },
  { name: 'new.ext4', parse: parseExt4 },
  { name: 'old.ext4', parse: parseExt4 },
  { name: 'mbr.disk', parse: parsePartitions },
  { name: 'gpt.disk', parse: parsePartitions },
];

export const target: FuzzTarget = {
  summary: 'mutated disk images against the parsers of file systems and image formats',
  async prepare() {
    const loaded = images.map(({ name, parse }) => {
      const bytes = imageBytes(name);
      return { bytes, parse, places: interesting(bytes) };
    });
    const { bytes } = await Windows.begin(imageBytes('tools.ntfs'));
    loaded.push({ bytes, parse: parseNtfs, places: interesting(bytes) });
    return async (seed) => {
      const draws = new Draws(seed);
      const { bytes, parse, places } = draws.pick(loaded);
      const device = counted(deviceOf(mutatedImage(bytes, places, draws)));
      try {
        await parse(device, draws);
      } catch (error) {
        if (!(error instanceof FsError)) throw error;
        assert.ok(error.message.length > 0 && error.hint.length > 0);
      }
    };
  },
};

/** Where something is: most of an image is zero, and changing that changes nothing. */
function interesting(bytes: Uint8Array): number[] {
  const places: number[] = [];
  for (let at = 0; at < bytes.byteLength; at += 8) {
    if (bytes.subarray(at, at + 8).some((byte) => byte !== 0)) places.push(at);
    if (places.length > 200_000) break;
  }
  return places;
}

const AWKWARD = [0, 1, 7, 0x7f, 0x80, 0xff];

/** Whole numbers are replaced as often as single bits; now and then the end is cut off. */
function mutatedImage(bytes: Uint8Array, places: readonly number[], draws: Draws): Uint8Array {
  const copy = bytes.slice();
  const count = draws.pick([1, 1, 1, 2, 3, 8, 40]);
  for (let done = 0; done < count; done++) {
    // The first structures say where the others are: half of the changes go there.
    const limit = draws.chance(0.5) ? Math.min(places.length, 64) : places.length;
    const at = places[draws.below(limit)]! + draws.below(8);
    switch (draws.below(4)) {
      case 0:
        copy[at] = (copy[at] ?? 0) ^ (1 << draws.below(8));
        break;
      case 1:
        copy.fill(draws.pick(AWKWARD), at, at + draws.pick([1, 2, 4, 8]));
        break;
      case 2: {
        const from = places[draws.below(places.length)]!;
        copy.copyWithin(at - (at % 8), from, from + draws.pick([4, 8, 16, 64]));
        break;
      }
      default:
        copy[at] = draws.below(256);
    }
  }
  return draws.chance(0.05) ? copy.subarray(0, draws.below(copy.byteLength)) : copy;
}

/** Fails a trial that reads without an end. */
function counted(device: Device): Device {
  let reads = 0;
  const read = device.read.bind(device);
  device.read = (bytes, offsetBytes) => {
    reads += 1;
    if (reads > READS_MAX) throw new Error(`more than ${READS_MAX} reads`);
    return read(bytes, offsetBytes);
  };
  return device;
}

async function parseQcow2(device: Device, draws: Draws): Promise<void> {
  const header = await readQcow2Header(device);
  const map = await readQcow2Map(device, header);
  await attempt(async () => {
    for (const bitmap of await readQcow2Bitmaps(device, header)) {
      await bounded(dirtyRuns(device, header, bitmap), map.sizeBytes);
    }
  });
  await attempt(async () => {
    for (const { table } of await readQcow2Snapshots(device, header)) {
      const older = await readQcow2Map(device, header, table);
      // A size that was changed may be petabytes: walking those is not what is tried here.
      if (Math.max(older.tableCount, map.tableCount) > 1000) continue;
      await bounded(differingClusters(older, map), map.sizeBytes);
    }
  });
  const view = qcow2Device(device, map);
  const span = Math.min(view.sizeBytes, 8 * 1024 * 1024);
  for (let step = 0; step < 8 && span > 0; step++) {
    const at = draws.below(span);
    await attempt(async () => {
      await view.read(new Uint8Array(Math.min(span - at, 100_000)), at);
    });
    await attempt(async () => {
      const extents = await view.extents(view.sizeBytes - at, at, 100);
      assert.equal(extents[0]?.offsetBytes, at);
    });
  }
}

async function parseExt4(device: Device, draws: Draws): Promise<void> {
  const fs = await openExt4(device);
  for (let number = 0; number < Math.min(4, fs.super.groupCount); number++) {
    await attempt(async () => {
      const group = await fs.group(number);
      assert.ok(group.blockCount > 0);
      await fs.blocksInUse(group);
    });
  }
  for (let number = 1; number < 20; number++) {
    await attempt(async () => {
      for await (const { block, count } of fileRuns(fs, await fs.inode(number))) {
        assert.ok(block > 0 && count > 0 && block + count <= fs.super.blockCount);
      }
    });
  }
  await attempt(async () => {
    const log = await openJbd2(fs);
    const from = log.super.first + (draws.chance(0.5) ? 0 : draws.below(200));
    const walk = await walkLog(log, from, 2 + draws.below(4));
    assert.ok(walk.length <= log.super.end - log.super.first);
    await findCommit(log, 2 + draws.below(4));
  });
}

async function parseNtfs(device: Device, draws: Draws): Promise<void> {
  const ntfs = await openNtfs(device);
  const numbers = Array.from({ length: 20 }, () => draws.below(Math.min(ntfs.recordCount, 200)));
  for (const number of [...numbers, 0, 11]) {
    await attempt(async () => {
      const stream = await ntfs.stream(await ntfs.record(number), ATTRIBUTE.data, '');
      for (const { cluster = 0, count } of stream.runs) {
        assert.ok(count > 0 && cluster + count <= ntfs.boot.clusterCount);
      }
      const at = draws.below(Math.min(stream.dataBytes, 1_000_000) + 1);
      await stream.read(at, Math.min(5000, stream.dataBytes - at));
    });
  }
  await attempt(async () => {
    const journal = await openUsnJournal(ntfs);
    await lastUsnBefore(journal, journal.next);
    let end = 0;
    for await (const { usn, bytes } of usnRecords(journal, draws.chance(0.5) ? journal.first : 0)) {
      assert.ok(usn >= end && bytes.length > 0);
      end = usn + bytes.length;
      if (end > 10_000_000) break;
    }
  });
  await attempt(async () => {
    const { stream, state } = await openLogFile(ntfs);
    if (typeof state === 'string') return;
    const log = await LogRecords.open(stream, state);
    const first = (1n << BigInt(state.placeBits)) | 2056n;
    await log.at(state.lsn);
    await log.walk(first, state.lsn);
  });
}

async function parsePartitions(device: Device): Promise<void> {
  const table = await readPartitions(device);
  let end = 0;
  for (const { offsetBytes, lengthBytes } of table?.partitions ?? []) {
    assert.ok(offsetBytes >= end && lengthBytes > 0);
    end = offsetBytes + lengthBytes;
    assert.ok(end <= device.sizeBytes);
  }
}

/** One part that is damaged does not keep the others from being tried. */
async function attempt(act: () => Promise<void>): Promise<void> {
  try {
    await act();
  } catch (error) {
    if (!(error instanceof FsError)) throw error;
  }
}

/** Runs ascend, do not touch, and stay inside. */
async function bounded(
  runs: AsyncIterable<{ offsetBytes: number; lengthBytes: number }>,
  sizeBytes: number,
): Promise<void> {
  let end = -1;
  let count = 0;
  for await (const { offsetBytes, lengthBytes } of runs) {
    assert.ok(offsetBytes > end && lengthBytes > 0, `${offsetBytes} after ${end}`);
    end = offsetBytes + lengthBytes;
    assert.ok(end <= sizeBytes, `${end} of ${sizeBytes}`);
    count += 1;
    if (count > RUNS_MAX) return;
  }
}
