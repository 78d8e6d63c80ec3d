/** Goal: the simulated disk keeps what was forced, may lose all else, and nothing it must not. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Files, readFully, writeFully } from '../src/core/index.ts';
import { SimulatedDisk, simulatedEnv, type World } from './index.ts';

const SEEDS = 200;

async function writeFile(files: Files, path: string, bytes: Uint8Array): Promise<void> {
  const file = await files.open(path, 'write');
  await writeFully(file, bytes, 0);
  await file.close();
}

async function syncFile(files: Files, path: string): Promise<void> {
  const file = await files.open(path, 'update');
  await file.sync();
  await file.close();
}

async function readFile(files: Files, path: string): Promise<Uint8Array> {
  const file = await files.open(path, 'read');
  const { sizeBytes } = await file.stat();
  const bytes = new Uint8Array(sizeBytes);
  assert.equal(await readFully(file, bytes, 0), sizeBytes);
  await file.close();
  return bytes;
}

/** Contents that each of many crashes leaves at `path`; undefined where there is nothing. */
async function afterCrashes(
  disk: SimulatedDisk,
  path: string,
): Promise<(Uint8Array | undefined)[]> {
  const found: (Uint8Array | undefined)[] = [];
  for (let seed = 0; seed < SEEDS; seed++) {
    const world = simulatedEnv(seed, { disk: disk.crash(seed) });
    found.push(
      await world.run(async () =>
        world.disk.has(path) ? readFile(world.env.files, path) : undefined,
      ),
    );
  }
  return found;
}

async function prepared(task: (files: Files) => Promise<void>): Promise<World> {
  const world = simulatedEnv(1);
  await world.run(() => task(world.env.files));
  return world;
}

const content = new Uint8Array(3000).fill(7);

test('a file that was forced, in a directory that was forced, survives every crash', async () => {
  const world = await prepared(async (files) => {
    await writeFile(files, '/a', content);
    await syncFile(files, '/a');
    await files.syncDirectory('/');
  });
  for (const found of await afterCrashes(world.disk, '/a')) assert.deepEqual(found, content);
});

test('a forced file whose directory was not forced may be absent, but never damaged', async () => {
  const world = await prepared(async (files) => {
    await writeFile(files, '/a', content);
    await syncFile(files, '/a');
  });
  const found = await afterCrashes(world.disk, '/a');
  assert(found.includes(undefined));
  for (const bytes of found) assert(bytes === undefined || Buffer.compare(bytes, content) === 0);
});

test('a forced name over unforced data shows empty, zeroed, torn and whole files', async () => {
  const world = await prepared(async (files) => {
    await writeFile(files, '/a', content);
    await files.syncDirectory('/');
  });
  const found = (await afterCrashes(world.disk, '/a')).map((bytes) => {
    assert(bytes !== undefined, 'the name was forced');
    if (bytes.byteLength === 0) return 'empty';
    if (bytes.every((byte) => byte === 0)) return 'zeroed';
    for (let sector = 0; sector < bytes.byteLength; sector += 512) {
      const part = bytes.subarray(sector, sector + 512);
      assert(
        part.every((byte) => byte === part[0]),
        'a sector is whole or absent',
      );
    }
    return bytes.every((byte) => byte === 7) ? 'whole' : 'torn';
  });
  assert.deepEqual([...new Set(found)].sort(), ['empty', 'torn', 'whole', 'zeroed']);
});

test('a rename is seen whole or not at all, and never loses both names', async () => {
  const world = await prepared(async (files) => {
    await files.makeDirectory('/from');
    await files.makeDirectory('/to');
    await writeFile(files, '/from/a', content);
    await syncFile(files, '/from/a');
    for (const directory of ['/', '/from', '/to']) await files.syncDirectory(directory);
    await files.rename('/from/a', '/to/b');
  });
  const places = new Set<string>();
  for (let seed = 0; seed < SEEDS; seed++) {
    const disk = world.disk.crash(seed);
    places.add(`${disk.has('/from/a')} ${disk.has('/to/b')}`);
  }
  assert.deepEqual([...places].sort(), ['false true', 'true false']);
});

test('each sector of an overwritten file is old or new', async () => {
  const world = await prepared(async (files) => {
    await writeFile(files, '/a', content);
    await syncFile(files, '/a');
    await files.syncDirectory('/');
    await writeFile(files, '/a', new Uint8Array(3000).fill(8));
  });
  let mixed = 0;
  for (const bytes of await afterCrashes(world.disk, '/a')) {
    assert(bytes !== undefined && bytes.byteLength === 3000);
    const values = new Set(bytes);
    for (const value of values) assert(value === 7 || value === 8);
    if (values.size === 2) mixed++;
  }
  assert(mixed > 0);
});

test('a sync covers what was written before it began, not what lands while it runs', async () => {
  const lost = new Set<boolean>();
  for (let seed = 0; seed < 40; seed++) {
    const world = simulatedEnv(seed);
    await world.run(async () => {
      const file = await world.env.files.open('/a', 'create');
      await world.env.files.syncDirectory('/');
      const syncing = file.sync();
      await writeFully(file, content, 0);
      await syncing;
    });
    const left = (await afterCrashes(world.disk, '/a')).some((bytes) => bytes?.byteLength !== 3000);
    lost.add(left);
  }
  assert.deepEqual([...lost], [true]);
});

test('after a failed sync a second one succeeds and saves nothing', async () => {
  const world = simulatedEnv(1);
  world.disk.inject({ operation: 'sync', number: 1, code: 'ENV_IO' });
  await world.run(async () => {
    await writeFile(world.env.files, '/a', content);
    await world.env.files.syncDirectory('/');
    await assert.rejects(syncFile(world.env.files, '/a'), { code: 'ENV_IO' });
    await syncFile(world.env.files, '/a');
    assert.deepEqual(await readFile(world.env.files, '/a'), content, 'still there to see');
  });
  for (const bytes of await afterCrashes(world.disk, '/a')) assert.equal(bytes?.byteLength, 0);
});

test('two names of one file stay one file across a crash', async () => {
  const world = await prepared(async (files) => {
    await writeFile(files, '/a', content);
    await files.link('/a', '/b');
    await files.syncDirectory('/');
  });
  const disk = world.disk.crash(3);
  assert.equal(disk.stat('/a', true).inode, disk.stat('/b', true).inode);
  await assert.rejects(
    world.run(() => world.env.files.link('/a', '/b')),
    { code: 'ENV_EXISTS' },
  );
});

test('a full disk takes what fits, says so, and has room again after a removal', async () => {
  const world = simulatedEnv(1, { disk: new SimulatedDisk({ capacityBytes: 8192 }) });
  await world.run(async () => {
    const { files } = world.env;
    await assert.rejects(writeFile(files, '/a', new Uint8Array(10_000)), { code: 'ENV_NO_SPACE' });
    assert.equal((await files.stat('/a')).sizeBytes, 8192);
    await assert.rejects(files.makeDirectory('/b'), { code: 'ENV_NO_SPACE' });
    await files.remove('/a');
  });
  // The handle of the failed write was never closed: its content still counts.
  assert.equal(world.disk.usedBytes, 8192);
  assert.equal(world.disk.crash(1).usedBytes, 0);
});

test('a lock has one holder, and dies with its process', async () => {
  const world = simulatedEnv(1);
  const other = world.startProcess('other');
  await world.run(async () => {
    assert(await other.env.files.lock('/lock'));
    assert.equal(await world.env.files.lock('/lock'), undefined);
    other.kill();
    const lock = await world.env.files.lock('/lock');
    assert(lock);
    await lock.release();
    await lock.release();
    assert(await world.env.files.lock('/lock'));
  });
});

test('a fault meets exactly the call that it names, before or after its effect', async () => {
  const world = simulatedEnv(1);
  const { files } = world.env;
  const plain = world.disk.inject({ operation: 'make-directory', number: 2, code: 'ENV_ACCESS' });
  const applied = world.disk.inject({
    operation: 'make-directory',
    number: 3,
    code: 'ENV_IO',
    applied: true,
  });
  await world.run(async () => {
    await files.makeDirectory('/a');
    assert(!plain.met);
    await assert.rejects(files.makeDirectory('/b'), { code: 'ENV_ACCESS' });
    await assert.rejects(files.makeDirectory('/c'), { code: 'ENV_IO' });
    assert.deepEqual(await files.list('/'), ['a', 'c']);
  });
  assert(plain.met && applied.met);
  assert.equal(applied.callCount, 3);
});

test('flipped bits, spoiled sectors, punched holes and symbolic links are seen', async () => {
  const world = await prepared(async (files) => {
    await writeFile(files, '/a', new Uint8Array(16_384).fill(1));
    await files.makeDirectory('/d');
  });
  const { files } = world.env;
  world.disk.flipBit('/a', 8 * 100 + 3);
  world.disk.plant('/d/link', { symlinkTo: '../a' });
  world.disk.plant('/fifo', 'fifo');
  await world.run(async () => {
    assert.equal((await readFile(files, '/d/link'))[100], 9);
    assert.equal((await files.statEntry('/d/link')).kind, 'other');
    assert.equal((await files.stat('/d/link')).kind, 'file');
    await assert.rejects(files.open('/fifo', 'read'), { code: 'ENV_INVALID' });
    const file = await files.open('/a', 'update');
    assert(file.punchHole(4096, 8192));
    assert.deepEqual(file.nextData(0), { offsetBytes: 0, lengthBytes: 4096 });
    assert.deepEqual(file.nextData(4096), { offsetBytes: 12_288, lengthBytes: 4096 });
    assert.equal(file.nextData(16_384), undefined);
    world.disk.file('/a').spoil(1000, 1);
    await assert.rejects(readFully(file, new Uint8Array(10), 995), { code: 'ENV_IO' });
    assert.equal(await readFully(file, new Uint8Array(10), 1001), 10);
    await file.close();
  });
});

test('folders that go back are as in the copy, in every crash, and the others are not', async () => {
  const world = await prepared(async (files) => {
    for (const folder of ['/a', '/b']) await files.makeDirectory(folder);
    await writeFile(files, '/a/x', content);
    await syncFile(files, '/a/x');
    for (const folder of ['/a', '/']) await files.syncDirectory(folder);
  });
  const copy = world.disk.crash(1);
  const { files } = world.env;
  await world.run(async () => {
    for (const path of ['/a/x', '/a/y', '/b/z']) await writeFile(files, path, content.slice(0, 9));
  });
  const { usedBytes } = world.disk;
  world.disk.goBack(['a'], copy);
  assert.equal(world.disk.usedBytes, usedBytes - 4096);
  await world.run(() => files.syncDirectory('/b'));
  assert.deepEqual(await world.run(() => files.list('/b')), ['z']);
  assert.deepEqual(await world.run(() => files.list('/a')), ['x']);
  for (const found of await afterCrashes(world.disk, '/a/x')) assert.deepEqual(found, content);
});
