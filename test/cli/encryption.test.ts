/** Goal: encryption from the command line: passwords come from where they may, and show nowhere. */
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { linesOf, noise, type Place, place, runFerry, writeImage } from './ferry.ts';

const FIRST = 'first-Passw0rd-of-all';
const SECOND = 'second-Passw0rd-of-all';

type Variables = Readonly<Record<string, string>>;

/** Runs `ferry` with these variables; everything that is ever printed is kept. */
function shell(here: Place) {
  const printed: string[] = [];
  return {
    printed,
    async ferry(variables: Variables, ...words: string[]) {
      const env = { ...here.variables, ...variables };
      const finished = await runFerry(words, { cwd: here.folder, env });
      printed.push(finished.stdout, finished.stderr);
      return finished;
    },
  };
}

test('init, backup, list, restore, check and keys under several passwords; none is ever printed', async () => {
  await using here = await place();
  const { ferry, printed } = shell(here);
  const ok = async (variables: Variables, ...words: string[]) => {
    const { exitCode, stdout, stderr } = await ferry(variables, ...words);
    assert.equal(exitCode, 0, `${words.join(' ')}: ${stderr}`);
    return stdout;
  };
  const withFirst = { FERRY_PASSWORD: FIRST };
  await writeFile(here.path('secret'), `${SECOND}\nnot this line\n`);
  const withSecond = { FERRY_PASSWORD_FILE: here.path('secret') };
  await writeImage(here.path('disk.img'), 3_000_000, { 4096: noise(400_000, 1) });

  await ok(withFirst, 'init', '--encrypt', '--label', 'one', '--json');
  await ok(withFirst, 'backup', 'disk.img', '--verbose');
  await ok(
    { ...withFirst, FERRY_NEW_PASSWORD_COMMAND: `cat ${here.path('secret')}` },
    ...['key', 'add', '--label', 'two', '--json'],
  );
  assert.match(await ok(withSecond, 'ls'), /disk@/);
  await ok(withSecond, 'restore', 'disk@latest', 'out.img', '--verify');
  const [disk, out] = [await readFile(here.path('disk.img')), await readFile(here.path('out.img'))];
  assert(disk.equals(out));
  await ok({ FERRY_PASSWORD_COMMAND: `echo ${FIRST}` }, 'check', '--read-data');
  const keys = linesOf(await ok(withFirst, 'key', 'list', '--json')).slice(0, -1);
  assert.deepEqual(keys.map(({ label }) => label).sort(), ['one', 'two']);
  await ok(withFirst, 'key', 'remove', String(keys.find(({ label }) => label === 'one')!.id));

  const refused = [
    { variables: withFirst, words: ['ls'], code: 'STORE_WRONG_PASSWORD' },
    { variables: {}, words: ['ls'], code: 'STORE_NO_PASSWORD' },
    { variables: withSecond, words: ['key', 'add'], code: 'CLI_PASSWORD' },
    { variables: { FERRY_PASSWORD_FILE: '/nowhere' }, words: ['ls'], code: 'CLI_PASSWORD' },
    { variables: { FERRY_PASSWORD_COMMAND: 'exit 3' }, words: ['ls'], code: 'CLI_PASSWORD' },
    { variables: { FERRY_PASSWORD_COMMAND: 'true' }, words: ['ls'], code: 'CLI_PASSWORD' },
  ];
  for (const { variables, words, code } of refused) {
    const { exitCode, stderr } = await ferry(variables, ...words, '--json', '--verbose');
    assert.equal(exitCode, 12, `${words.join(' ')}: ${stderr}`);
    assert.equal(linesOf(stderr)[0]!.code, code);
  }
  assert.equal((await ferry({ ...withFirst, ...withSecond }, 'ls')).exitCode, 2);
  assert.equal((await ferry(withFirst, 'ls', '--verbose')).exitCode, 12);
  assert.equal((await ferry(withSecond, 'key', 'remove', String(keys[1]!.id))).exitCode, 1);
  const blind = linesOf(await ok({}, 'check', '--no-password', '--read-data', '--json'));
  assert.equal(blind.at(-1)!.problems, 0);
  assert.equal(blind.at(-1)!.blind, true);

  const all = printed.join('\n');
  for (const secret of [FIRST, SECOND]) assert(!all.includes(secret), 'a password was printed');
});

test('a recovery form sets a new password where all are lost', async () => {
  await using here = await place();
  const { ferry } = shell(here);
  await ferry({ FERRY_PASSWORD: FIRST }, 'init', '--encrypt');
  const form = await ferry({ FERRY_PASSWORD: FIRST }, 'key', 'export');
  assert.match(form.stdout, /^ {4}([A-Z2-7]{4}-){6}[A-Z2-7]{4}$/m);
  assert.match(form.stdout, /ferry key add --recovery FILE/);
  await writeFile(here.path('page'), form.stdout);
  const added = await ferry({ FERRY_NEW_PASSWORD: SECOND }, 'key', 'add', '--recovery', 'page');
  assert.equal(added.exitCode, 0, added.stderr);
  assert.equal((await ferry({ FERRY_PASSWORD: SECOND }, 'ls')).exitCode, 0);
  await writeFile(here.path('page'), form.stdout.replace(/[A-Z2-7]{4}-/, 'AAAA-'));
  const hurt = await ferry({ FERRY_NEW_PASSWORD: 'x' }, 'key', 'add', '--recovery', 'page');
  assert.equal(hurt.exitCode, 12);
});

test('a password and a repository that is not encrypted do not go together', async () => {
  await using here = await place();
  const { ferry } = shell(here);
  const variables = { FERRY_PASSWORD: FIRST };
  assert.equal((await ferry(variables, 'init')).exitCode, 2);
  assert.equal((await ferry({}, 'init', '--encrypt')).exitCode, 12);
  assert.equal((await ferry({}, 'init')).exitCode, 0);
  const { exitCode, stderr } = await ferry(variables, 'ls', '--json');
  assert.equal(exitCode, 1);
  assert.equal(linesOf(stderr)[0]!.code, 'STORE_NOT_ENCRYPTED');
  const keys = await ferry({}, 'key', 'list', '--json');
  assert.equal(linesOf(keys.stderr)[0]!.code, 'STORE_NOT_ENCRYPTED');
});
