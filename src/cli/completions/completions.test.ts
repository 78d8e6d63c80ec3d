/** Goal: the shells accept the scripts, and complete commands, options and choices. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { argument, type CommandSpec, choice, flag, text } from '../spec.ts';
import { commandGroups } from '../table/index.ts';
import { completionScripts } from './index.ts';

const commands: CommandSpec[] = [
  {
    name: 'copy',
    summary: `copy one's things: all`,
    arguments: { source: argument('SOURCE', 'from', 'file') },
    options: {
      how: choice(['fast', 'safe'], 'the [way]', 'safe'),
      name: text('NAME', 'a name', { short: 'n' }),
      dryRun: flag('only tell'),
    },
    examples: [],
  },
  { name: 'count', summary: 'count', arguments: {}, options: {}, examples: [] },
];

/** What bash offers after `words`, the last of which is being typed. */
function bashOffers(...words: string[]): string[] {
  const script = `${completionScripts.bash!(commands)}
    COMP_WORDS=(ferry ${words.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${words.length}
    _ferry; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { stdout, stderr } = spawnSync('bash', ['-c', script], { encoding: 'utf8' });
  assert.equal(stderr, '');
  return stdout.trim().split('\n');
}

test('bash offers commands, then options, then the choices of an option', (context) => {
  const { error } = spawnSync('bash', ['-c', '']);
  if (error !== undefined) return context.skip('bash is not installed');
  assert.deepEqual(bashOffers('co'), ['copy', 'count']);
  assert.deepEqual(bashOffers('copy', '--d'), ['--dry-run']);
  assert.deepEqual(bashOffers('--json', 'copy', '--how', ''), ['fast', 'safe']);
  assert.ok(bashOffers('copy', '--').includes('--json'));
});

test('every shell gets a script for every real command', () => {
  const specs = commandGroups.flatMap(({ entries }) => entries.map(({ spec }) => spec));
  for (const [shell, script] of Object.entries(completionScripts)) {
    const made = script(specs);
    for (const { name } of specs) assert.ok(made.includes(name), `${shell} ${name}`);
    const check = spawnSync(shell, ['-n'], { input: made, encoding: 'utf8' });
    if (check.error === undefined) assert.equal(check.stderr, '', shell);
  }
});

test('quotes and colons in summaries do not break zsh and fish', () => {
  assert.match(completionScripts.zsh!(commands), /'copy:copy one'\\''s things: all'/);
  assert.match(completionScripts.fish!(commands), /-d 'copy one\\'s things: all'/);
});
