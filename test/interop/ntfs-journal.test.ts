/** Goal: a volume that mkntfs made is told of by its journals until ntfs-3g's tools write to it. */
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { type Line, place } from '../cli/ferry.ts';
import { Windows } from '../golden/images/windows.ts';
import { runOk } from './processes.ts';
import { requireTools } from './tools.ts';

const MIB = 2 ** 20;

test('ferry backup --changes journal of an NTFS image', { timeout: 60_000 }, async (context) => {
  const tools = requireTools(context, { mkntfs: 'ntfs-3g', ntfscp: 'ntfs-3g' });
  if (tools === undefined) return;
  await using here = await place();
  const disk = here.path('disk.img');
  const copy = async (bytes: Uint8Array, path: string, ...stream: string[]) => {
    await writeFile(here.path('content'), bytes);
    await runOk(tools.ntfscp!, ['-q', '-f', ...stream, disk, here.path('content'), path]);
  };
  await writeFile(disk, new Uint8Array(6 * MIB));
  await runOk(tools.mkntfs!, ['-q', '-f', '-F', '-c', '4096', disk]);
  await copy(new Uint8Array(MIB).fill(0x61), 'one.bin');
  await copy(new Uint8Array(2 * MIB).fill(0x62), 'two.bin');
  await copy(new Uint8Array(32), '/$Extend/$UsnJrnl', '-N', '$Max');
  await copy(new Uint8Array(131_072), '/$Extend/$UsnJrnl', '-N', '$J');
  const windows = await Windows.begin(new Uint8Array(await readFile(disk)), 'one.bin');
  await writeFile(disk, windows.bytes);
  await here.ok('init');
  const backUp = async (...words: string[]): Promise<Line> =>
    (await here.json(0, 'backup', 'disk.img', '--audit', '100%', ...words)).at(-1)!;
  await backUp();
  windows.mount();
  windows.overwrite('one.bin', 7, 0x63);
  windows.unmount();
  await writeFile(disk, windows.bytes);
  // Not by itself: the comparison is made, and the report says who was not taken.
  assert.equal((await backUp('--changes', 'journal')).source, 'journal');
  windows.mount();
  windows.overwrite('one.bin', 9, 0x64);
  windows.unmount();
  await writeFile(disk, windows.bytes);
  const told = await backUp('--changes', 'journal');
  assert.equal(told.source, 'journal');
  assert.match(String(told.reason), /what NTFS logged since disk@/);
  assert.ok(Number(told.readBytes) < 4.5 * MIB, `${told.readBytes}`);
  await here.ok('restore', 'disk@latest', 'restored.img');
  assert.ok((await readFile(here.path('restored.img'))).equals(await readFile(disk)));
  const plain = await backUp();
  assert.equal(plain.source, 'checksum');
  assert.match(JSON.stringify(plain), /experimental/);
  await copy(new Uint8Array(4096).fill(0x65), 'one.bin');
  const refused = await here.failure(1, 'backup', 'disk.img', '--changes', 'journal');
  assert.match(refused.message, /written without a journal: record \d+ of \$MFT/);
});
