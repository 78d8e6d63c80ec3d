/** Goal: direct transfers give the same bytes as others, and pass the page cache by. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Device, FUA } from './device.ts';
import { openFile } from './file.ts';
import { files, scratch } from './scratch.suite.ts';

const at = scratch();
const SECTOR = 4096;
const SECTORS = 200;
/** tmpfs, where temporary files may lie, has nothing to pass by. */
const TMPFS = 0x01021994;
const noDirect = fs.statfsSync(at('.')).type === TMPFS && 'set TMPDIR to a disk';

async function direct(name: string, sizeBytes = SECTOR * SECTORS): Promise<Device> {
  fs.writeFileSync(at(name), new Uint8Array(sizeBytes));
  return openFile(files, at(name), { readOnly: false, directIo: true });
}

/** The open flags of this process's descriptor for `path` (proc_pid_fdinfo(5)). */
function flagsOf(path: string): number {
  for (const fd of fs.readdirSync('/proc/self/fd')) {
    const isIt = fs.readlinkSync(`/proc/self/fd/${fd}`, { encoding: 'utf8' }) === path;
    if (!isIt) continue;
    const info = fs.readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1');
    return Number.parseInt(/^flags:\s*(\d+)$/m.exec(info)![1]!, 8);
  }
  return assert.fail(`${path} is not open`);
}

test('a direct file is opened as one and asks for whole sectors', async (t) => {
  if (noDirect) return t.skip(noDirect);
  await using device = await direct('flags');
  assert.ok((flagsOf(fs.realpathSync(at('flags'))) & fs.constants.O_DIRECT) !== 0);
  assert.equal(device.blockSizes.minimumBytes, SECTOR);
  const misaligned = { code: 'DEVICE_ALIGNMENT' };
  await assert.rejects(async () => device.read(new Uint8Array(SECTOR), 512), misaligned);
  await assert.rejects(async () => device.write(new Uint8Array(512), 0, 0), misaligned);
});

test('a direct file behaves like a plain array, from memory at any address', async (t) => {
  if (noDirect) return t.skip(noDirect);
  await using device = await direct('model');
  const model = new Uint8Array(SECTOR * SECTORS);
  const range = fc
    .tuple(fc.nat(SECTORS - 1), fc.oneof(fc.integer({ min: 1, max: 4 }), fc.nat(150)))
    .map(([first, count]) => [first * SECTOR, Math.min(count, SECTORS - first) * SECTOR] as const);
  const step = fc.tuple(range, fc.nat(3), fc.nat(15), fc.nat(255));
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
      for (const [[offset, length], kind, shift, fill] of steps) {
        const memory = new Uint8Array(length + 16).subarray(shift, shift + length);
        if (kind === 0) {
          await device.read(memory, offset);
          assert.ok(Buffer.compare(memory, model.subarray(offset, offset + length)) === 0);
        } else if (kind === 3) {
          await device.zero(length, offset, 0);
          model.fill(0, offset, offset + length);
        } else {
          memory.forEach((_, index) => {
            memory[index] = fill + index;
          });
          await device.write(memory, offset, kind === 1 ? FUA : 0);
          model.set(memory, offset);
        }
      }
    }),
    { numRuns: 40 },
  );
  await device.flush();
  assert.ok(Buffer.compare(fs.readFileSync(at('model')), model) === 0);
});

test('more transfers at once than there are bounces all get their turn', async (t) => {
  if (noDirect) return t.skip(noDirect);
  await using device = await direct('many');
  const writes = Array.from({ length: SECTORS }, (_, index) =>
    device.write(new Uint8Array(SECTOR).fill(index + 1), index * SECTOR, 0),
  );
  await Promise.all(writes);
  const content = fs.readFileSync(at('many'));
  for (let index = 0; index < SECTORS; index += 1) {
    assert.deepEqual(
      [content[index * SECTOR], content[(index + 1) * SECTOR - 1]],
      [(index + 1) % 256, (index + 1) % 256],
    );
  }
});

test('a file of broken sectors is refused with a hint', async (t) => {
  if (noDirect) return t.skip(noDirect);
  await assert.rejects(direct('odd', SECTOR + 512), { code: 'DEVICE_SIZE', message: /4608 bytes/ });
});

test('a block device takes direct transfers', async (t) => {
  if (process.getuid?.() !== 0) return t.skip('loop devices need root');
  fs.writeFileSync(at('disk'), new Uint8Array(SECTOR * 16));
  const loop = execFileSync('losetup', ['-f', '--show', at('disk')], { encoding: 'utf8' }).trim();
  try {
    await using device = await openFile(files, loop, { readOnly: false, directIo: true });
    assert.equal(device.sizeBytes, SECTOR * 16);
    await device.write(new Uint8Array(SECTOR * 2).fill(5), SECTOR, 0);
    const target = new Uint8Array(SECTOR * 4);
    await device.read(target, 0);
    assert.deepEqual([target[SECTOR - 1], target[SECTOR], target[SECTOR * 3]], [0, 5, 0]);
  } finally {
    execFileSync('losetup', ['-d', loop]);
  }
});
