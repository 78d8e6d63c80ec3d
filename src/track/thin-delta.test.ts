/** Goal: what thin_delta printed is taken whole, for the snapshot that it is named for, or not. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { nodeEnv } from '../core/index.ts';
import { memory } from '../device/index.ts';
import type { Snapshot } from '../store/index.ts';
import { thinDeltaSource } from './thin-delta.ts';

const BLOCK = 64 * 1024;
/** Ends inside of a block. */
const SIZE = 207 * BLOCK - 4096;
const since = { id: '1f3a90c2aabb', volume: 'web', sizeBytes: SIZE } as Snapshot;

const head =
  '<superblock uuid="" time="1" transaction="1" data_block_size="128" nr_data_blocks="1000">';

/** Printed by thin_delta 0.9.0 of two volumes that thin_restore had made. */
const plain = `${head}
  <diff left="1" right="2">
    <same begin="0" length="5"/>
    <different begin="5" length="2"/>
    <same begin="7" length="13"/>
    <left_only begin="100" length="10"/>
    <right_only begin="200" length="7"/>
  </diff>
</superblock>
`;
const verbose = `${head}
  <diff left="1" right="2">
    <same>
      <range begin="0" data_begin="0" length="5"/>
    </same>
    <different>
      <range begin="5" left_data_begin="5" right_data_begin="40" length="2"/>
    </different>
    <left_only>
      <range begin="100" data_begin="20" length="10"/>
    </left_only>
    <right_only>
      <range begin="200" data_begin="60" length="7"/>
    </right_only>
  </diff>
</superblock>
`;

async function ask(text: string, { name = 'since-1f3a90c2.xml', sizeBytes = SIZE } = {}) {
  const folder = await mkdtemp(join(tmpdir(), 'ferry-thin-'));
  try {
    const path = join(folder, name);
    await writeFile(path, text);
    const source = thinDeltaSource({ env: nodeEnv(), path });
    const asked = { ...since, sizeBytes };
    return await source.changes({ volume: 'web', device: memory('web', sizeBytes), since: asked });
  } finally {
    await rm(folder, { recursive: true });
  }
}

test('blocks of either volume that differ are told, in both forms, and end with the volume', async () => {
  for (const text of [plain, verbose, `<?xml version="1.0"?>\n${plain}`]) {
    const answer = await ask(text);
    assert.ok(answer.kind === 'changes');
    assert.deepEqual(await Array.fromAsync(answer.changed), [
      { offsetBytes: 5 * BLOCK, lengthBytes: 2 * BLOCK },
      { offsetBytes: 100 * BLOCK, lengthBytes: 10 * BLOCK },
      { offsetBytes: 200 * BLOCK, lengthBytes: 7 * BLOCK - 4096 },
    ]);
  }
});

test('a list that is not for this snapshot and this size, or not whole, is not believed', async () => {
  const cases: [string, Parameters<typeof ask>, string][] = [
    ['another snapshot', [plain, { name: 'since-aaaaaaaa.xml' }], 'stale'],
    ['a volume that shrank', [plain, { sizeBytes: 206 * BLOCK }], 'resized'],
    ['no list', ['hello'], 'lost'],
    ['another element', [plain.replaceAll('left_only', 'perhaps')], 'lost'],
    ['no block size', [plain.replace('data_block_size="128"', '')], 'lost'],
    ['blocks of a sector', [plain.replace('"128"', '"1"')], 'lost'],
    ['a length that is no number', [plain.replace('length="2"', 'length="-2"')], 'lost'],
    ['a length without an end', [plain.replace('length="2"', 'length="9999999999999999"')], 'lost'],
    ['a volume more', [plain.replace('</superblock>', '<diff></diff></superblock>')], 'lost'],
    ['something behind', [`${plain}<x/>`], 'lost'],
    ['a comment that hides', [plain.replace('<different', '<!-- different')], 'lost'],
  ];
  for (const [what, asked, reason] of cases) {
    const answer = await ask(...asked);
    assert.deepEqual([what, answer.kind === 'cannot-say' && answer.reason], [what, reason]);
  }
});

test('a list that is cut short is never taken for a whole one', async () => {
  const whole = plain.trimEnd();
  await fc.assert(
    fc.asyncProperty(
      fc.nat(whole.length - 1),
      fc.constantFrom(plain, verbose),
      async (at, text) => {
        const answer = await ask(text.slice(0, Math.min(at, text.trimEnd().length - 1)));
        assert.equal(answer.kind, 'cannot-say');
      },
    ),
    { numRuns: 30 },
  );
});
