/**
 * The golden repositories: what they hold, and how today's writer makes them under a fixed seed.
 * The committed bytes are never written anew: they stand for repositories that people have.
 */
import { createHash } from 'node:crypto';
import { type Env, nodeEnv } from '../../src/core/index.ts';
import { memory } from '../../src/device/index.ts';
import { memoryStore, type ObjectStore } from '../../src/objects/index.ts';
import { Repository, type Snapshot, setParity } from '../../src/store/index.ts';
import { backup } from '../../src/transfer/backup/index.ts';
import { copy } from '../../src/transfer/copy/index.ts';

export type GoldenVersion = { readonly volume: string; readonly bytes: Uint8Array };
export type Golden = {
  readonly name: string;
  readonly chunkBytes: number;
  /** Of an encrypted one; no secret to anybody. */
  readonly password?: string;
  readonly versions: readonly GoldenVersion[];
  /** Was made from these, of which some were forgotten and collected. */
  readonly written?: readonly (GoldenVersion & { readonly forgotten: boolean })[];
  /** Its packs have parity of so many percent. */
  readonly parity?: number;
  /** Is a copy of another repository, which is not kept. */
  readonly isCopy?: boolean;
  /** Parts of the format that it must have, by the names of the reader in test/. */
  readonly parts: readonly string[];
};

const KiB = 1024;

/** Time and randomness that are the same in every run, and no threads. */
export function goldenEnv(seed: string): Env {
  const env = nodeEnv();
  let draws = 0;
  let hours = 0;
  return {
    ...env,
    clock: { ...env.clock, wallMs: () => Date.UTC(2024, 0, 1, hours++) },
    random: {
      fill(target) {
        const options = { outputLength: target.byteLength };
        target.set(createHash('shake256', options).update(`${seed} ${draws++}`).digest());
      },
    },
    workers: { ...env.workers, parallelism: 0 },
  };
}

function noise(lengthBytes: number, seed: number): Uint8Array {
  return createHash('shake256', { outputLength: lengthBytes }).update(`${seed}`).digest();
}

/** Lines like those of a table: they compress well, and each chunk is another. */
function table(lengthBytes: number, from: number): Uint8Array {
  let text = '';
  for (let row = from; text.length < lengthBytes; row++) {
    text += `account ${row} holds ${(row * 7919) % 10_000} since day ${row % 365}\n`;
  }
  return new TextEncoder().encode(text).subarray(0, lengthBytes);
}

/** Text, zstd's dictionary magic, a run between zero margins, noise, holes, an odd size. */
function firstVersion(chunkBytes: number): Uint8Array {
  const bytes = new Uint8Array(5 * chunkBytes + 3 * 64 * KiB + 777);
  bytes.set(table(2 * chunkBytes, 1));
  bytes.set([0x37, 0xa4, 0x30, 0xec], chunkBytes);
  bytes.set(table(600, 5000), 3 * chunkBytes + 1000);
  bytes.set(table(700, 9000), bytes.byteLength - 700);
  return bytes;
}

function versions(chunkBytes: number): GoldenVersion[] {
  const first = firstVersion(chunkBytes);
  const second = first.slice();
  second.set(table(30, 777), 500);
  second.set(table(30, 888), chunkBytes + 500);
  second.set(noise(3000, 1), 4 * chunkBytes);
  const third = second.slice(0, second.byteLength - 100_000);
  third.set(table(30, 999), 900);
  third.fill(0, chunkBytes, chunkBytes + 300);
  const fourth = new Uint8Array(9 * 1024 * KiB + 5);
  fourth.set(third);
  fourth.set(table(100, 31), 8 * 1024 * KiB + 5000);
  return [
    { volume: 'disk', bytes: first },
    { volume: 'disk', bytes: second },
    { volume: 'copy', bytes: second.slice(0, 70_000) },
    { volume: 'empty', bytes: new Uint8Array(0) },
    { volume: 'disk', bytes: third },
    { volume: 'disk', bytes: fourth },
  ];
}

/** Noise, and then a log of parts of it, with the head of an entry before each. */
function logged(): GoldenVersion[] {
  const chunkBytes = 4 * KiB;
  const first = new Uint8Array(16 * chunkBytes);
  for (let chunk = 0; chunk < 8; chunk++)
    first.set(noise(chunkBytes, chunk + 10), chunk * chunkBytes);
  const second = first.slice();
  for (let entry = 0; entry < 24; entry++) {
    const from = (entry % 8) * chunkBytes + Math.floor(entry / 8) * KiB;
    second.set(noise(24, entry + 50), 8 * chunkBytes + entry * (KiB + 280));
    second.set(first.subarray(from, from + KiB + 256), 8 * chunkBytes + entry * (KiB + 280) + 24);
  }
  return [
    { volume: 'disk', bytes: first },
    { volume: 'disk', bytes: second },
  ];
}

/**
 * Each day half as much changes, elsewhere in two chunks: patches stand one upon the other. Then a
 * chunk comes that is made of parts of seven others.
 */
function chained(): GoldenVersion[] {
  const chunkBytes = 16 * KiB;
  let bytes = new Uint8Array(8 * chunkBytes);
  bytes.set(noise(7 * chunkBytes, 7));
  let at = 100;
  const days = [0, 4000, 1900, 900, 430, 200, 95].map((changedBytes, day) => {
    bytes = bytes.slice();
    bytes.set(noise(changedBytes, 100 + day), at);
    bytes.set(noise(changedBytes, 200 + day), chunkBytes + at);
    at += changedBytes;
    return { volume: 'disk', bytes };
  });
  const last = bytes.slice();
  for (let part = 0; part < 7; part++) {
    const from = part * chunkBytes + 4000;
    last.set(last.subarray(from, from + 2300), 7 * chunkBytes + part * 2300);
  }
  return [...days, { volume: 'disk', bytes: last }];
}

const GOLDEN_PASSWORD = 'golden password: Kenwort für alle';

const parts = ['plain', 'patch', 'run', 'inner', 'leaf with a base'];

/** Half of them is forgotten, among it the base of chains of patches. */
function collected(all: readonly GoldenVersion[]) {
  const written = all.map((version, at) => ({ ...version, forgotten: at % 2 === 0 }));
  const types = ['snapshot', 'hold', 'tag', 'forget', 'fence', 'generation'];
  return {
    written,
    versions: written.filter(({ forgotten }) => !forgotten),
    parts: ['plain', 'patch', ...types.map((type) => `entry ${type}`)],
  };
}

export const goldens: readonly Golden[] = [
  { name: 'chunks-64k', chunkBytes: 64 * KiB, versions: versions(64 * KiB), parts },
  {
    name: 'chunks-4k',
    chunkBytes: 4 * KiB,
    versions: versions(4 * KiB),
    parts: [...parts, 'digest'],
  },
  { name: 'collected-64k', chunkBytes: 64 * KiB, ...collected(versions(64 * KiB)) },
  {
    name: 'collected-encrypted-4k',
    chunkBytes: 4 * KiB,
    password: GOLDEN_PASSWORD,
    ...collected(versions(4 * KiB)),
  },
  {
    name: 'similar-4k',
    chunkBytes: 4 * KiB,
    versions: logged(),
    parts: ['plain', 'patch', 'several parents'],
  },
  {
    name: 'parity-4k',
    chunkBytes: 4 * KiB,
    versions: logged(),
    parity: 20,
    parts: ['plain', 'patch', 'parity'],
  },
  {
    name: 'chains-16k',
    chunkBytes: 16 * KiB,
    versions: chained(),
    parts: ['plain', 'patch', 'long chain', 'many parents'],
  },
  {
    name: 'copied-64k',
    chunkBytes: 64 * KiB,
    versions: versions(64 * KiB).slice(0, 3),
    isCopy: true,
    parts: ['plain', 'patch', 'copy'],
  },
  {
    name: 'encrypted-64k',
    chunkBytes: 64 * KiB,
    password: GOLDEN_PASSWORD,
    versions: versions(64 * KiB),
    parts: [...parts, 'digest', 'sealed frame', 'sealed tree', 'sealed fields'],
  },
];

/** Opens a golden repository, encrypted or not. */
export function openGolden(env: Env, objects: ObjectStore): Promise<Repository> {
  return Repository.open(env, objects, { secret: async () => ({ password: GOLDEN_PASSWORD }) });
}

/** Writes a golden repository with today's writer. */
export async function writeGolden(objects: ObjectStore, golden: Golden): Promise<Snapshot[]> {
  const env = goldenEnv(golden.name);
  const { chunkBytes, password } = golden;
  const key = password === undefined ? undefined : { password, kdf: { logN: 10, r: 8, p: 1 } };
  await Repository.init(env, objects, { chunkBytes, ...(key && { key }) });
  const repository = await openGolden(env, objects);
  if (golden.parity !== undefined) await setParity(repository, golden.parity);
  if (golden.isCopy === true) return copyGolden(env, golden, repository);
  const snapshots: Snapshot[] = [];
  for (const { volume, bytes } of golden.written ?? golden.versions) {
    await using device = memory(volume, bytes.byteLength);
    for (let at = 0; at < bytes.byteLength; at += 4096) {
      const part = bytes.subarray(at, at + 4096);
      if (part.some((byte) => byte !== 0)) await device.write(part, at, 0);
    }
    const request = { volume, origin: 'golden', changeSource: 'full', packTargetBytes: 20_000 };
    snapshots.push((await backup(env, repository, device, request)).snapshot);
  }
  if (golden.written === undefined) return snapshots;
  const forgotten = snapshots.filter((_, at) => golden.written![at]!.forgotten);
  const kept = snapshots.filter((each) => !forgotten.includes(each));
  await repository.hold([kept[0]!, kept[1]!], true);
  await repository.hold([kept[1]!], false);
  await repository.tag(kept, { added: ['golden', 'b'] });
  await repository.tag([kept[1]!], { added: ['a'], removed: ['b'] });
  await repository.forget(forgotten);
  // What a dead run left: a fence is needed for it.
  const orphan = 'ab'.repeat(32);
  await objects.putIfAbsent(`packs/ab/${orphan}`, new TextEncoder().encode('left over'));
  await repository.collectGarbage({ packTargetBytes: 20_000, waitMs: 0 });
  return repository.snapshots();
}

/** Copies what another repository holds, tagged and held. */
async function copyGolden(env: Env, golden: Golden, repository: Repository): Promise<Snapshot[]> {
  const objects = memoryStore('original');
  await writeGolden(objects, { ...golden, name: `${golden.name}, original`, isCopy: false });
  const source = await openGolden(env, objects);
  const [first] = source.snapshots();
  await source.hold([first!], true);
  await source.tag([first!], { added: ['golden'] });
  const request = { packTargetBytes: 20_000 };
  await copy(env, source, repository, source.snapshots(), request);
  return repository.snapshots();
}
