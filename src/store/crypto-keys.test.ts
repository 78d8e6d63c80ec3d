/** Goal: passwords and recovery forms give the key back, and hostile key objects cost nothing. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { equalBytes, fromHex, nodeEnv, toHex } from '../core/index.ts';
import { memoryStore, type ObjectStore } from '../objects/index.ts';
import { listKeys } from './crypto-key-objects.ts';
import { repositoryKeys } from './crypto-keys.ts';
import { checkKdf, defaultKdf, unwrapKey, wrapKey } from './crypto-password.ts';
import { parseRecoveryForm, recoveryForm } from './crypto-recovery.ts';
import { sealJson, unsealJson } from './envelope.ts';
import { KDF_MEMORY_BYTES_MAX, KEYS_MAX } from './limits.ts';
import { Repository } from './repository.ts';

const env = nodeEnv();
const kdf = { logN: 4, r: 1, p: 1 };
const secretOf = (password: string) => ({ secret: async () => ({ password }) });
const wrong = { code: 'STORE_WRONG_PASSWORD' };

async function encrypted(password: string): Promise<ObjectStore> {
  const objects = memoryStore('a');
  await Repository.init(env, objects, { key: { password, kdf } });
  return objects;
}

test('a master key comes back under its password and salt, and under no other', () =>
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 32, maxLength: 32 }),
      fc.string({ minLength: 1 }),
      fc.string({ minLength: 1 }),
      (master, password, other) => {
        const wrapping = { kdf, salt: new Uint8Array(32), bound: Uint8Array.of(1) };
        const wrapped = wrapKey(master, password, wrapping);
        assert(equalBytes(unwrapKey(wrapped, password, wrapping)!, master));
        for (const hurt of [
          { ...wrapping, bound: Uint8Array.of(2) },
          { ...wrapping, salt: new Uint8Array(32).fill(1) },
          { ...wrapping, kdf: { ...kdf, logN: 5 } },
        ]) {
          assert.equal(unwrapKey(wrapped, password, hurt), undefined);
        }
        if (other.normalize('NFC') === password.normalize('NFC')) return;
        assert.equal(unwrapKey(wrapped, other, wrapping), undefined);
      },
    ),
  ));

test('a password is the same however a keyboard composes its letters', async () => {
  const objects = await encrypted('caf\u00e9');
  await Repository.open(env, objects, secretOf('cafe\u0301'));
});

test('derivation costs what it must, and never more than the limits', () => {
  checkKdf(defaultKdf);
  assert(128 * defaultKdf.r * 2 ** defaultKdf.logN >= 2 ** 26);
  for (const hostile of [
    { logN: 40, r: 8, p: 1 },
    { logN: 30, r: 8, p: 1 },
    { logN: 18, r: 1024, p: 1 },
    // The library would throw at these.
    { logN: 16, r: 1, p: 1 },
    { logN: 2, r: 2 ** 18, p: 4 },
    { logN: 1, r: 8, p: 2 ** 30 },
    { logN: 16, r: 8, p: 64 },
    { logN: 0, r: 8, p: 1 },
    { logN: 16, r: 0, p: 1 },
    { logN: 16, r: 8, p: 0 },
    { logN: 1, r: KDF_MEMORY_BYTES_MAX / 128, p: 1 },
  ]) {
    assert.throws(() => checkKdf(hostile), { code: 'FORMAT_INVALID' }, JSON.stringify(hostile));
  }
});

test('a recovery form comes back, in any case and spacing, and no wrong letter passes', () =>
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 32, maxLength: 32 }),
      fc.nat(55),
      fc.constantFrom(...'ABCXYZ27'),
      (master, at, letter) => {
        const form = recoveryForm(master);
        assert.match(form, /^([A-Z2-7]{4}-){13}[A-Z2-7]{4}$/);
        const page = `A page about it\n\n  ${form.slice(0, 34)}\n  ${form.slice(35)}\n\nand more`;
        for (const text of [form, form.toLowerCase(), form.replaceAll('-', ' '), page]) {
          assert(equalBytes(parseRecoveryForm(text), master));
        }
        const letters = [...form.replaceAll('-', '')];
        if (letters[at] === letter) return;
        letters[at] = letter;
        assert.throws(() => parseRecoveryForm(letters.join('')), wrong);
        assert.throws(() => parseRecoveryForm(form.slice(1)), wrong);
      },
    ),
  ));

test('every purpose and every repository has its own key', () => {
  const master = new Uint8Array(32).fill(7);
  const all = ['00', '01'].flatMap((id) => Object.values(repositoryKeys(master, id.repeat(16))));
  assert.equal(new Set(all.map(toHex)).size, all.length);
  assert.equal(all.length, 14);
});

test('several passwords open one repository; removed ones do not, and the last one stays', async () => {
  const objects = await encrypted('first');
  const { keys, superblock } = await Repository.open(env, objects, secretOf('first'));
  const created = '2026-01-01T00:00:00.000Z';
  const second = await keys.add({ password: 'second', created, label: 'laptop', kdf });
  await assert.rejects(Repository.open(env, objects, secretOf('third')), wrong);
  await assert.rejects(Repository.open(env, objects), { code: 'STORE_NO_PASSWORD' });
  const again = await Repository.open(env, objects, secretOf('second'));
  assert.deepEqual(
    (await again.keys.list()).find(({ id }) => id === second.id),
    second,
  );
  const [first] = (await keys.list()).filter(({ id }) => id !== second.id);
  await again.keys.remove(first!.id.slice(0, 12));
  await assert.rejects(Repository.open(env, objects, secretOf('first')), wrong);
  await assert.rejects(again.keys.remove(second.id), { code: 'STORE_KEY', message: /only/ });
  await assert.rejects(again.keys.remove('zz'), { code: 'STORE_KEY', message: /no key/ });
  await assert.rejects(again.keys.remove(''), { code: 'STORE_KEY' });
  const form = again.keys.recoveryForm();
  assert.equal(form, keys.recoveryForm());
  const byForm = { secret: async () => ({ recoveryForm: form }) };
  const third = await Repository.open(env, objects, byForm);
  assert.equal(third.superblock.repositoryId, superblock.repositoryId);
  const foreign = await encrypted('first');
  await assert.rejects(Repository.open(env, foreign, byForm), wrong);
});

test('empty passwords, endless labels and a seventeenth password are refused', async () => {
  const objects = await encrypted('first');
  const { keys } = await Repository.open(env, objects, secretOf('first'));
  const created = '2026-01-01T00:00:00.000Z';
  const key = { password: 'x', created, kdf };
  await assert.rejects(keys.add({ ...key, password: '' }), { code: 'STORE_NO_PASSWORD' });
  await assert.rejects(keys.add({ ...key, label: 'x'.repeat(129) }), { code: 'STORE_NAME' });
  await assert.rejects(keys.add({ ...key, label: 'a\nb' }), { code: 'STORE_NAME' });
  for (let at = 1; at < KEYS_MAX; at++) await keys.add({ ...key, password: `more ${at}` });
  await assert.rejects(keys.add(key), { code: 'STORE_LIMIT' });
  await Repository.open(env, objects, secretOf(`more ${KEYS_MAX - 1}`));
});

test('hostile key objects are passed over at once, named, and hide no good one', async () => {
  const objects = await encrypted('first');
  const { keys: before } = await listKeys(objects);
  const name = `keys/${before[0]!.id}`;
  const good = await objects.get(name, 10_000);
  const json = unsealJson('key', good, name) as { kdf: Record<string, unknown> };
  const hostile = [
    sealJson('key', { ...json, kdf: { ...json.kdf, logN: 30, r: 8, p: 1 } }),
    sealJson('key', { ...json, kdf: { ...json.kdf, p: 2 ** 40 } }),
    sealJson('key', { ...json, kdf: { ...json.kdf, name: 'md5' } }),
    sealJson('key', { ...json, wrapped: 'ff'.repeat(4000) }),
    sealJson('log', json),
    good.subarray(0, 40),
    new Uint8Array(0),
  ];
  for (const [at, bytes] of hostile.entries()) {
    await objects.putIfAbsent(`keys/000000000000000${at}`, bytes);
  }
  await objects.putIfAbsent('keys/something-else', good);
  const repository = await Repository.open(env, objects, secretOf('first'));
  const { keys, damaged } = await listKeys(objects);
  assert.deepEqual(keys, before);
  assert.equal(damaged.size, hostile.length);
  await assert.rejects(Repository.open(env, objects, secretOf('none')), {
    ...wrong,
    message: /keys\/0000000000000000 is damaged/,
  });
  assert(repository.keys !== undefined);
});

test('a key object under another name, or edited, opens nothing', async () => {
  const objects = await encrypted('first');
  const id = (await listKeys(objects)).keys[0]!.id;
  const bytes = await objects.get(`keys/${id}`, 10_000);
  const json = unsealJson('key', bytes, 'a') as Record<string, unknown>;
  for (const [name, edited] of [
    ['keys/00000000000000ff', bytes],
    [`keys/${id}`, sealJson('key', { ...json, label: 'trusted' })],
    [`keys/${id}`, sealJson('key', { ...json, created: '2020' })],
  ] as const) {
    const other = memoryStore('b');
    for (const copy of ['superblock/0', 'superblock/1']) {
      await other.putIfAbsent(copy, await objects.get(copy, 10_000));
    }
    await other.putIfAbsent(name, edited);
    await assert.rejects(Repository.open(env, other, secretOf('first')), wrong);
  }
});

test('a golden derivation, so that old repositories stay readable', () => {
  const keys = repositoryKeys(fromHex('0b'.repeat(32), 32)!, '0c'.repeat(16));
  assert.equal(toHex(keys.chunkId).slice(0, 16), GOLDEN_CHUNK_ID_KEY);
});

const GOLDEN_CHUNK_ID_KEY = '499cff6c4c439fdb';
