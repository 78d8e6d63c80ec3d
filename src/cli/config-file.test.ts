/** Goal: a configuration file says what flags say, and what cannot be meant is refused by line. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { parseCommandLine } from './command-line.ts';
import { commandGroups } from './table/index.ts';

const folder = mkdtempSync(join(tmpdir(), 'ferry-config-'));
after(() => rmSync(folder, { recursive: true }));

function parsed(yaml: string, ...words: string[]) {
  const path = join(folder, 'serve.yaml');
  writeFileSync(path, yaml);
  const found = parseCommandLine(commandGroups, ['serve', '--config', path, ...words], '1');
  assert.ok('values' in found);
  return found;
}

test('values are those of the flags, and flags on the command line beat them', () => {
  const yaml = [
    '# of the backup host',
    'repo: /backups/disks',
    'listen: 10.0.0.2:7007',
    'quota: 500G',
    'snapshot-every: 1h',
    'keep-daily: 007',
    'verbose: true',
    'quiet: false',
    'tenant: [acme=/backups/acme, other=/backups/other]',
  ].join('\n');
  const { values, global } = parsed(yaml, '--quota', '1T', '--tenant', 'third=/backups/third');
  assert.deepEqual(values.listen, { kind: 'tcp', host: '10.0.0.2', port: 7007 });
  assert.deepEqual([values.quota, values.snapshotEvery, values.keepDaily], [2 ** 40, 3_600_000, 7]);
  assert.deepEqual(values.tenant, [{ name: 'third', location: '/backups/third' }]);
  assert.deepEqual([global.repo, global.verbose, global.quiet], ['/backups/disks', true, false]);
  assert.deepEqual(parsed('').values.tenant, []);
});

const wrong: Readonly<Record<string, [string, RegExp]>> = {
  'an unknown name': ['repo: /r\nquotta: 5G', /serve\.yaml:2: there is no option 'quotta'/],
  'a name twice': ['quota: 5G\nquota: 6G', /serve\.yaml:2: Map keys must be unique/],
  'a switch that is no truth': ['\nverbose: yes', /serve\.yaml:2: verbose: expected true or false/],
  'several values where there is one': ['quota: [1G, 2G]', /:1: quota: expected one value/],
  'no value': ['repo: /r\nquota:', /serve\.yaml:2: quota: expected one value/],
  'what is no YAML': ['quota: [', /serve\.yaml:/],
  'a list': ['- quota', /:1: expected lines of `name: value`/],
  'another file': ['config: other.yaml', /:1: there is no option 'config'/],
  'a value of the wrong form': ['quota: much', /--quota: 'much' is not a size/],
};
for (const [name, [yaml, message]] of Object.entries(wrong)) {
  test(`a file with ${name} is refused`, () => {
    assert.throws(() => parsed(yaml), { message });
  });
}

test('a file that is not there is told', () => {
  const words = ['serve', '--config', join(folder, 'nothing')];
  assert.throws(() => parseCommandLine(commandGroups, words, '1'), {
    ...{ code: 'CLI_CONFIG', message: /nothing cannot be read/ },
  });
});
