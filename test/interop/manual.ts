/** Takes the program out of a page of docs/, to be run as it stands. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';

const root = new URL('../../', import.meta.url);

/** The first block of JavaScript, with what the package's names stand for in the source tree. */
export async function programOf(page: string): Promise<string> {
  const manual = await readFile(new URL(page, root), 'utf8');
  const { exports } = JSON.parse(await readFile(new URL('package.json', root), 'utf8'));
  const program = /```js\n(.*?)```/s.exec(manual)?.[1];
  assert.ok(program, page);
  return program.replace(/from 'blockferry([^']*)'/g, (_, name: string) => {
    const types: string | undefined = exports[`.${name}`]?.types;
    assert.ok(types, `the package has no blockferry${name}`);
    const place = types.replace('./dist/types/', 'src/').replace(/\.d\.ts$/, '.ts');
    return `from '${new URL(place, root)}'`;
  });
}
