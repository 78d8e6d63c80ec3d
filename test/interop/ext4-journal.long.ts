/** Goal: what ext4's journal tells is never less than what changed, or it says that it cannot. */
import assert from 'node:assert/strict';
import { copyFile, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { place } from '../cli/ferry.ts';
import { Ext4Image, fill, requireExt4, workOn } from './ext4.suite.ts';
import { Watched } from './ext4-watched.suite.ts';
import { run, runOk } from './processes.ts';
import { requireTool } from './tools.ts';

const MIB = 2 ** 20;

const kinds: readonly { readonly name: string; readonly options: string[]; mount?: string }[] = [
  { name: 'as mke2fs makes it', options: [] },
  {
    name: 'blocks of 1 KiB, meta_bg, no flex_bg',
    options: ['-b', '1024', '-O', 'meta_bg,^resize_inode,^flex_bg'],
  },
  {
    name: 'pointers instead of extents, sparse_super2',
    options: ['-O', '^extent,^64bit,sparse_super2'],
  },
  {
    name: 'uninit_bg, lazy tables',
    options: ['-O', '^metadata_csum,uninit_bg', '-E', 'lazy_itable_init=1', '-b', '1024'],
  },
  { name: 'bigalloc', options: ['-O', 'bigalloc', '-C', '16384'] },
  {
    name: 'inline data, large directories',
    options: ['-O', 'inline_data,large_dir'],
    mount: 'lazytime',
  },
  { name: 'data in the journal', options: [], mount: 'data=journal' },
];

for (const { name, options, mount = '' } of kinds) {
  test(`a superset under random work: ${name}`, { timeout: 600_000 }, async (context) => {
    if (!requireExt4(context)) return;
    const seeds = Number(process.env.FERRY_TEST_SEEDS ?? 3);
    await using disk = await Watched.make({ size: '40M', options });
    const { image } = disk;
    await image.session(() => fill(image.mountPoint, 20 * MIB), mount);
    assert.equal((await disk.snapshot()).reason, 'first');
    for (let seed = 1; seed <= seeds; seed++) {
      await image.session(() => workOn(image.mountPoint, seed, 25), mount);
      const round = await disk.snapshot();
      assert.equal(round.reason, 'told');
      assert.ok(round.changed > 0);
      context.diagnostic(`told ${round.told}, changed ${round.changed}`);
    }
    // Frozen, gone on with, frozen again, unmounted: one mount.
    await image.mount(mount);
    await workOn(image.mountPoint, 1001, 20);
    await image.freeze();
    assert.equal((await disk.snapshot()).reason, 'told');
    await image.thaw();
    await workOn(image.mountPoint, 1002, 20);
    await runOk('fstrim', [image.mountPoint]);
    await image.freeze();
    assert.equal((await disk.snapshot()).reason, 'told');
    await image.thaw();
    await workOn(image.mountPoint, 1003, 20);
    await image.unmount();
    assert.equal((await disk.snapshot()).reason, 'told');
    // Nobody has mounted it since: nothing at all is told.
    assert.deepEqual(await disk.snapshot(), { reason: 'told', told: 0, changed: 0 });
    await runOk('e2fsck', ['-fn', image.path]);
  });
}

type Break = {
  readonly name: string;
  readonly reason: string | RegExp;
  /** Between two snapshots; the image is not mounted. */
  readonly act: (disk: Watched) => Promise<void>;
};

const small = (image: Ext4Image, seed: number) =>
  image.session(() => workOn(image.mountPoint, seed, 4));

/** The image as a power cut would leave it: in the middle of work. */
async function crash(image: Ext4Image, folder: string): Promise<void> {
  const torn = join(folder, 'torn');
  await image.session(async () => {
    await workOn(image.mountPoint, 5, 4);
    await runOk('sync', ['-f', image.mountPoint]);
    await copyFile(image.path, torn);
  });
  await image.putBack(torn);
}

const breaks: readonly Break[] = [
  {
    name: 'mounted twice',
    reason: 'untold',
    act: async ({ image }) => {
      await small(image, 1);
      await small(image, 2);
    },
  },
  {
    name: 'crashed and recovered by e2fsck',
    reason: 'untold',
    act: async ({ image, folder }) => {
      await crash(image, folder);
      await run('e2fsck', ['-p', image.path]);
    },
  },
  {
    name: 'crashed and recovered by the kernel',
    reason: 'untold',
    act: async ({ image, folder }) => {
      await crash(image, folder);
      await small(image, 6);
    },
  },
  {
    name: 'checked by e2fsck',
    reason: 'behind-its-back',
    act: async ({ image }) => {
      await small(image, 7);
      await run('e2fsck', ['-fy', image.path]);
    },
  },
  {
    name: 'written by debugfs',
    reason: 'behind-its-back',
    act: async ({ image, folder }) => {
      await writeFile(join(folder, 'text'), 'past the kernel');
      await runOk('sleep', ['1.1']); // The superblock knows seconds.
      await runOk('debugfs', ['-w', '-R', `write ${join(folder, 'text')} text`, image.path]);
    },
  },
  {
    name: 'another journal, after it was mounted without one',
    reason: 'replaced',
    act: async ({ image }) => {
      await runOk('tune2fs', ['-O', '^has_journal', image.path]);
      await small(image, 8);
      await runOk('tune2fs', ['-j', image.path]);
    },
  },
  {
    name: 'put back to an older state',
    reason: 'reverted',
    act: async ({ image, copy }) => image.putBack(copy(-1)),
  },
  {
    name: 'put back, and then gone on with for longer than before',
    reason: /reverted|wrapped/,
    act: async ({ image, copy }) => {
      // As many mounts as there would be otherwise.
      await image.putBack(copy(-1));
      await small(image, 11);
      await image.session(() => workOn(image.mountPoint, 9, 40));
    },
  },
  {
    name: 'more was logged than the journal holds',
    reason: 'wrapped',
    act: async ({ image }) => {
      await image.session(async () => {
        for (let round = 0; round < 300; round++) {
          await writeFile(image.at(`again-${round % 3}`), `${round}`, { flush: true });
        }
      });
    },
  },
  {
    name: 'grown',
    reason: 'resized',
    act: async ({ image }) => {
      await runOk('truncate', ['-s', '24M', image.path]);
      await runOk('resize2fs', ['-f', image.path]);
    },
  },
  {
    name: 'made anew',
    reason: 'replaced',
    act: async ({ image }) => {
      await runOk('mke2fs', ['-q', '-F', '-t', 'ext4', image.path]);
    },
  },
  {
    name: 'crashed, and not recovered',
    reason: 'untold',
    act: ({ image, folder }) => crash(image, folder),
  },
  {
    name: 'with fast commits',
    reason: 'unsupported',
    act: async ({ image }) => {
      await runOk('mke2fs', ['-q', '-F', '-t', 'ext4', '-O', 'fast_commit', image.path]);
      await small(image, 10);
    },
  },
  {
    name: 'with inodes of 128 bytes',
    reason: 'granularity',
    act: async ({ image }) => {
      await runOk('mke2fs', ['-q', '-F', '-t', 'ext4', '-I', '128', image.path]);
    },
  },
  {
    name: 'without a journal',
    reason: 'unsupported',
    act: async ({ image }) => {
      await runOk('mke2fs', ['-q', '-F', '-t', 'ext4', '-O', '^has_journal', image.path]);
    },
  },
  {
    name: 'not ext4 any more',
    reason: 'absent',
    act: async ({ image }) => {
      await runOk('mke2fs', ['-q', '-F', '-t', 'ext4', image.path]);
      await runOk('dd', ['if=/dev/zero', `of=${image.path}`, 'bs=1M', 'count=1', 'conv=notrunc']);
    },
  },
];

test('every way to break it is seen', { timeout: 600_000 }, async (context) => {
  if (!requireExt4(context)) return;
  await using disk = await Watched.make({ size: '16M', options: ['-b', '1024', '-J', 'size=1'] });
  const { image } = disk;
  await small(image, 50);
  await disk.snapshot();
  for (const [index, { name, reason, act }] of breaks.entries()) {
    if (index < 8) {
      // A round that goes well, to show that it is the break that is seen. The one before it may
      // still suffer from the last break: e2fsck leaves a journal that begins elsewhere.
      await small(image, 200 + index);
      await disk.snapshot();
      await small(image, 100 + index);
      assert.equal((await disk.snapshot()).reason, 'told', `before: ${name}`);
    }
    await act(disk);
    const { reason: said } = await disk.snapshot();
    if (typeof reason === 'string') assert.equal(said, reason, name);
    else assert.match(said, reason, name);
  }
});

test('swap files and the block of GRUB are told, though nobody logs them', async (context) => {
  if (!requireExt4(context)) return;
  await using disk = await Watched.make({ size: '24M' });
  const { image } = disk;
  await image.session(async () => {
    await fill(image.mountPoint, 12 * MIB);
    await writeFile(image.at('swap'), Buffer.alloc(65_536), { mode: 0o600 });
    await runOk('mkswap', [image.at('swap')]);
    const text = '# GRUB Environment Block\n'.padEnd(1024, '#');
    await writeFile(image.at('grubenv'), text);
  });
  await disk.snapshot();
  await small(image, 1);
  for (const [name, skip] of [
    ['swap', 40],
    ['grubenv', 0],
  ] as const) {
    const { stdout } = await run('debugfs', ['-R', `blocks ${name}`, image.path]);
    const blocks = stdout.trim().split(' ');
    const seek = Number(blocks[skip]) * 1024 + 100;
    const words = [`of=${image.path}`, `oseek=${seek}`, 'oflag=seek_bytes', 'conv=notrunc'];
    await runOk('dd', [...words, 'status=none'], { input: 'past the file system' });
  }
  assert.equal((await disk.snapshot()).reason, 'told');
});

test('a disk with partitions is backed up by what its ext4 logged', {
  timeout: 300_000,
}, async (context) => {
  if (!requireExt4(context)) return;
  const sfdisk = requireTool(context, 'sfdisk', 'fdisk');
  if (sfdisk === undefined) return;
  await using here = await place();
  await here.ok('init');
  await using image = await Ext4Image.make(here.folder, { size: '40M', options: ['-b', '4096'] });
  const disk = here.path('disk.raw');
  const start = 2 * MIB;
  await image.session(async () => {
    await fill(image.mountPoint, 24 * MIB);
    await writeFile(image.at('kept'), 'x'.repeat(65_536));
  });
  await runOk('truncate', ['-s', '48M', disk]);
  await runOk(sfdisk, ['-q', disk], { input: `label: gpt\nstart=${start / 512}, size=40M\n` });
  const put = async () => {
    const seek = `oseek=${start}`;
    const words = [`if=${image.path}`, `of=${disk}`, 'bs=1M', seek, 'oflag=seek_bytes'];
    await runOk('dd', [...words, 'conv=notrunc', 'status=none']);
  };
  const backUp = async (exitCode: number, ...words: string[]) => {
    const line = (await here.json(exitCode, 'backup', 'disk.raw', ...words)).at(-1)!;
    const { source, readBytes } = line;
    await here.ok('restore', 'disk', 'out.raw');
    assert.ok((await readFile(here.path('out.raw'))).equals(await readFile(disk)));
    const passed = line.passed as { source: string; code: string }[];
    return { source, readBytes, why: passed.find(({ source }) => source === 'journal')?.code };
  };
  await put();
  assert.equal((await backUp(0)).source, 'full');
  await small(image, 1);
  await put();
  // Not by itself: nobody knows whether a swap file is on it.
  const watched = await backUp(0);
  assert.deepEqual([watched.source, watched.why], ['checksum', 'unwanted']);
  await small(image, 2);
  await put();
  const first = await backUp(0, '--changes', 'journal', '--audit', '100%');
  assert.equal(first.source, 'journal');
  assert.ok(Number(first.readBytes) < 30 * MIB, `${first.readBytes} bytes were read`);
  // Past the file system: only the audit can see that, and it is not believed any more.
  const file = (await run('debugfs', ['-R', 'blocks kept', image.path])).stdout.split(' ')[0];
  await small(image, 3);
  const words = ['if=/dev/zero', `of=${image.path}`, 'bs=4k', 'count=1', `seek=${file}`];
  await runOk('dd', [...words, 'conv=notrunc', 'status=none']);
  await put();
  const healed = await backUp(21, '--changes', 'journal', '--audit', '100%');
  assert.equal(healed.source, 'checksum');
  await small(image, 4);
  await put();
  const doubted = await here.failure(1, 'backup', 'disk.raw', '--changes', 'journal');
  assert.equal(doubted.code, 'TRACK_CANNOT_SAY');
  // In the middle of work nothing is said, and nothing is kept.
  await crash(image, here.folder);
  await put();
  assert.equal((await backUp(0)).why, 'untold');
});
