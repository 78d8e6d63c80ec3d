/**
 * Goal: of an encrypted repository nothing can be read, forged, moved or put back without the key,
 * and whoever only stores it can still check it.
 */
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { ByteReader, crc32, equalBytes } from '../../core/index.ts';
import { memoryStore } from '../../objects/index.ts';
import {
  type Built,
  build,
  env,
  MARKER,
  rewritten,
  said,
  VOLUME,
} from './encrypted-repository.fixture.ts';
import { fill, open } from './model-repository.fixture.ts';

const ENVELOPE_HEAD_BYTES = 16;

let built: Built;
let foreign: Built;
let long: Built;

before(async () => {
  built = await build(memoryStore('own'), 3);
  foreign = await build(memoryStore('foreign'), 3);
  long = await build(memoryStore('long'), 66);
});

function keys({ content }: Built, prefix: string): string[] {
  return [...content.keys()].filter((key) => key.startsWith(prefix));
}

async function mustBeNamed(key: string, bytes: Uint8Array, what: string, each = built) {
  const content = new Map(each.content).set(key, bytes);
  const name = key.slice(key.lastIndexOf('/') + 1);
  const words = await said(content, each.expected, what);
  assert(words.includes(name), `${what} was not named: ${words || 'nothing'}`);
}

test('nothing of the content and no name of a volume is found in what is stored', () => {
  const secrets = [MARKER.slice(0, 12), VOLUME, 'checksum', '"full"'];
  for (const [key, bytes] of long.content) {
    for (const secret of secrets) {
      assert(!Buffer.from(bytes).includes(secret), `${key} holds ${secret}`);
    }
  }
});

test('equal content gives other ids, checksums and bytes in another repository', async () => {
  const [own, others] = [await signaturesOf(built), await signaturesOf(foreign)];
  assert(own.size > 20);
  assert.deepEqual(
    [...own].filter((signature) => others.has(signature)),
    [],
  );
});

/** Ids and checksums of all records, as the tables show them. */
async function signaturesOf({ content }: Built): Promise<Set<string>> {
  const repository = await open(env, await fill(memoryStore('a'), content));
  const index = await repository.index();
  const found = new Set<string>();
  for (const pack of index.packIds()) {
    const table = await index.tableOf(pack);
    for (let at = 0; at < table.count; at++) {
      found.add(Buffer.from(table.id(at)).toString('hex'));
      found.add(`checksum ${table.checksums[at]}`);
    }
  }
  return found;
}

test('every object of another repository with the same password is refused and named', async () => {
  for (const prefix of ['log/', 'packs/']) {
    const own = keys(built, prefix);
    const others = keys(foreign, prefix);
    for (const [at, key] of own.entries()) {
      const other = others[at % others.length]!;
      await mustBeNamed(key, foreign.content.get(other)!, `a foreign object as ${key}`);
    }
  }
  for (const key of ['superblock/0', 'superblock/1']) {
    const content = new Map(built.content).set(key, foreign.content.get(key)!);
    const words = await said(content, built.expected, `a foreign ${key}`);
    assert(words !== '', `a foreign ${key} was not noticed`);
  }
});

test('genuine frames that change places within their pack, or between packs, are named', async () => {
  const repository = await open(env, await fill(memoryStore('a'), built.content));
  const index = await repository.index();
  const frames: { key: string; at: number; length: number }[] = [];
  for (const pack of repository.log.state.loosePacks) {
    const { frameOffset, frameBytes } = await index.tableOf(pack);
    const key = `packs/${pack.slice(0, 2)}/${pack}`;
    for (const [at, offset] of frameOffset.entries()) {
      frames.push({ key, at: offset, length: frameBytes[at]! });
    }
  }
  let swaps = 0;
  for (const [number, to] of frames.entries()) {
    for (const from of frames.slice(number + 1)) {
      if (from.length !== to.length) continue;
      const source = built.content.get(from.key)!.slice(from.at, from.at + from.length);
      const bytes = built.content.get(to.key)!.slice();
      bytes.set(source, to.at);
      await mustBeNamed(to.key, bytes, `frame at ${from.at} of ${from.key} in ${to.key}`);
      swaps++;
    }
  }
  assert(swaps > 0, 'some frames have equal lengths');
});

/** An object with its clear part edited and its checksum made right again. */
function edited(bytes: Uint8Array, edit: (json: string) => string): Uint8Array {
  const payload = Buffer.from(bytes).subarray(16, -4);
  const end = payload.lastIndexOf(0x7d, payload.length - 33) + 1;
  const json = Buffer.from(edit(payload.toString('utf8', 0, end)));
  const made = Buffer.concat([bytes.subarray(0, 16), json, payload.subarray(end), Buffer.alloc(4)]);
  made.writeBigUInt64LE(BigInt(made.length - 20), 8);
  made.writeUInt32LE(crc32(made.subarray(0, -4)), made.length - 4);
  return new Uint8Array(made);
}

test('a log entry whose clear part was edited is refused: root, packs, place', async () => {
  const entries = keys(built, 'log/');
  const roots = entries.map((key) => /"record":"([0-9a-f]{64})"/.exec(textOf(key))![1]!);
  const edits: [string, (json: string) => string][] = [
    ['the root of an older snapshot', (json) => json.replace(roots[2]!, roots[0]!)],
    ['another size', (json) => json.replace('"sizeBytes":700000', '"sizeBytes":650000')],
    ['no packs', (json) => json.replace(/"packs":\[[^\]]*\]/, '"packs":[]')],
    ['another generation', (json) => json.replace('"generation":0', '"generation":1')],
    ['nothing sealed', (json) => json.replace(/"sealed":"[^"]*"/, '"volume":"other"')],
  ];
  const key = entries[2]!;
  assert(
    equalBytes(
      edited(built.content.get(key)!, (json) => json),
      built.content.get(key)!,
    ),
  );
  for (const [what, edit] of edits) {
    const bytes = edited(built.content.get(key)!, edit);
    assert(!equalBytes(bytes, built.content.get(key)!), what);
    await mustBeNamed(key, bytes, what);
  }

  function textOf(entry: string): string {
    return Buffer.from(built.content.get(entry)!).toString('latin1');
  }
});

test('a checkpoint and a segment that were edited are named, and mislead nobody', async () => {
  const [checkpoint] = keys(long, 'checkpoints/');
  const repository = await open(env, await fill(memoryStore('a'), long.content));
  const roots = repository.snapshots().map(({ root }) => Buffer.from(root!.record, 'hex'));
  const bytes = long.content.get(checkpoint!)!.slice();
  const at = Buffer.from(bytes.buffer).indexOf(roots[1]!);
  assert(at > 0 && !roots[0]!.equals(roots[1]!));
  bytes.set(roots[0]!, at);
  new DataView(bytes.buffer).setUint32(bytes.byteLength - 4, crc32(bytes.subarray(0, -4)), true);
  await mustBeNamed(checkpoint!, bytes, 'a checkpoint with another root', long);
  for (const key of keys(long, 'index/')) {
    const hurt = long.content.get(key)!.slice();
    hurt[hurt.byteLength - 60] = hurt[hurt.byteLength - 60]! ^ 1;
    new DataView(hurt.buffer).setUint32(hurt.byteLength - 4, crc32(hurt.subarray(0, -4)), true);
    await mustBeNamed(key, hurt, `a segment with another fingerprint`, long);
  }
});

test('a superblock that says less, or something else, is refused', async () => {
  const plain = (json: string) =>
    json.replaceAll(/"encryption"(,|(?=\]))/g, '').replace(/,"encryption":\{[^}]*\}/, '');
  const edits: [RegExp, (json: string) => string][] = [
    [/not encrypted, but there are keys/, plain],
    [/only in part/, (json) => json.replace('"writer":["encryption"]', '"writer":[]')],
    [/without the key has changed it/, (json) => json.replace('65536', '131072')],
    [/without the key has changed it/, (json) => json.replace('"created":"2', '"created":"1')],
  ];
  for (const [words, edit] of edits) {
    const content = new Map(built.content);
    for (const key of ['superblock/0', 'superblock/1']) {
      content.set(key, rewritten(built.content.get(key)!, edit));
    }
    assert.match(await said(content, built.expected, String(words)), words);
  }
  // With the keys gone as well nothing in the repository tells: whoever has a password does.
  const bare = new Map([...built.content].filter(([key]) => key.startsWith('superblock/')));
  for (const [key, bytes] of bare) bare.set(key, rewritten(bytes, plain));
  const objects = await fill(memoryStore('bare'), bare);
  const options = { mustBeEncrypted: true };
  await assert.rejects(open(env, objects, options), { code: 'STORE_NOT_ENCRYPTED' });
});

test('fields are sealed under a salt that is never used again', async () => {
  const salts = new Set<string>();
  for (const [key, bytes] of [...long.content, ...built.content]) {
    if (!/^(log|sessions)\//.test(key)) continue;
    for (const [, sealed] of Buffer.from(bytes)
      .toString('latin1')
      .matchAll(/"sealed":"([^"]+)"/g)) {
      add(Buffer.from(sealed!, 'base64'), key);
    }
  }
  for (const key of keys(long, 'checkpoints/')) {
    const content = new ByteReader(long.content.get(key)!.subarray(ENVELOPE_HEAD_BYTES));
    for (let part = 0; part < 2; part++) content.take(content.varint());
    add(content.take(content.remaining), key);
  }
  function add(sealed: Uint8Array, key: string): void {
    const salt = Buffer.from(sealed).toString('hex', 0, 32);
    assert(!salts.has(salt), `a salt of ${key} was used twice`);
    salts.add(salt);
  }
  assert(salts.size > 66);
});
