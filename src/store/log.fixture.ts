/** For tests: logs of snapshots that are nothing but a name. */
import { nodeEnv, sha256, toHex } from '../core/index.ts';
import type { ObjectStore } from '../objects/index.ts';
import { CommitLog, type Proposal } from './log.ts';
import { plainObjects } from './plain-objects.fixture.ts';
import type { Snapshot } from './snapshot.ts';

export const noChange = { packs: [], packsDropped: [], segments: [], segmentsDropped: [] };

const { random } = nodeEnv();

export function snapshot(volume: string): Snapshot {
  return {
    id: toHex(sha256(new TextEncoder().encode(volume)).subarray(0, 16)),
    volume,
    time: '2024-01-01T00:00:00.000Z',
    sizeBytes: 0,
    chunkBytes: 65536,
    root: undefined,
    digest: '00'.repeat(32),
    parent: undefined,
    source: 'test',
    origin: 'test',
    readBytes: 0,
    changedBytes: 0,
    storedBytes: 0,
    unreadable: [],
    tags: [],
    held: false,
  };
}

export function proposal(volume: string): Proposal {
  return { type: 'snapshot', snapshot: snapshot(volume), index: noChange, generation: 0 };
}

export async function openLog(objects: ObjectStore): Promise<CommitLog> {
  const log = new CommitLog(plainObjects(objects), random);
  await log.refresh();
  return log;
}

export function volumes(log: CommitLog): string[] {
  return [...log.state.snapshots.values()].map(({ volume }) => volume);
}
