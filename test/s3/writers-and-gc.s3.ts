/** Goal: two writers that forget, and gc beside them, leave every snapshot that is listed whole. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { before, test } from 'node:test';
import { noise } from '../../src/transfer/backup/model-repository.fixture.ts';
import { makeBucket, Place } from './place.ts';

const MIB = 1024 * 1024;
const PAGE_BYTES = 4096;

/** One is enough to see that it works; ten is what the project was measured with. */
const MINUTES = Number(process.env.FERRY_S3_MINUTES ?? 1);

const DISK_BYTES = 16 * MIB;
const KEPT = 5;

let bucket: string;
before(async () => {
  bucket = await makeBucket();
});

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Numbers that look random, the same for the same seed. */
function dice(seed: number): (sides: number) => number {
  let state = seed >>> 0;
  return (sides) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * sides);
  };
}

/** Some pages change; some MiB become what the other writer has or will have as well. */
function change(disk: Uint8Array, roll: (sides: number) => number): void {
  for (let count = 0; count < 40; count++) {
    const page = roll(disk.byteLength / PAGE_BYTES);
    disk.set(noise(PAGE_BYTES, roll(1e6)), page * PAGE_BYTES);
  }
  disk.set(noise(MIB, roll(12)), roll(disk.byteLength / MIB) * MIB);
}

test(`two writers and gc on one repository for ${MINUTES} minutes: all snapshots restore`, async (context) => {
  await using place = await Place.make(bucket);
  const until = performance.now() + MINUTES * 60_000;
  const goesOn = () => performance.now() < until;
  const expected = new Map<string, string>();
  const counts = { backups: 0, forgets: 0, gcs: 0 };

  async function write(name: string, seed: number): Promise<void> {
    const roll = dice(seed);
    const disk = noise(DISK_BYTES, 1);
    while (goesOn()) {
      change(disk, roll);
      await place.disk(`${name}.img`, disk);
      const made = await place.json('backup', `${name}.img`);
      expected.set(String(made.at(-1)!.id), sha256(disk));
      counts.backups++;
      if (roll(2) > 0) continue;
      await place.ok('forget', name, '--keep-last', String(KEPT));
      counts.forgets++;
    }
  }

  async function collect(): Promise<void> {
    while (goesOn()) {
      await place.ok('gc');
      counts.gcs++;
    }
  }

  const outcomes = await Promise.allSettled([write('a', 1), write('b', 2), collect()]);
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
  await place.ok('gc');
  const listed = (await place.json('ls')).filter(({ id }) => id !== undefined);
  assert.ok(listed.length >= 2);
  for (const { id, volume } of listed) {
    const bytes = await place.restored(`${volume}@${id}`);
    assert.equal(sha256(bytes), expected.get(String(id)), `${volume}@${id}`);
  }
  assert.match(await place.ok('check', '--read-data'), /no damage/);
  const { backups, forgets, gcs } = counts;
  context.diagnostic(
    `${backups} backups, ${forgets} forgets, ${gcs} gcs; ${listed.length} restored`,
  );
  assert.ok(backups > 2 && forgets > 0 && gcs > 0);
});
