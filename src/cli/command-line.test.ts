/** Goal: a command line is understood as it is declared, or refused with a pointer to help. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Invocation, type Printout, parseCommandLine } from './command-line.ts';
import {
  argument,
  argumentList,
  choice,
  count,
  entry,
  flag,
  optionalArgument,
  optionalText,
  sizes,
  text,
} from './spec.ts';
import { commandGroups } from './table/index.ts';

const groups = [
  {
    title: 'Copying',
    entries: [
      entry(
        {
          name: 'copy',
          summary: 'copy things',
          arguments: {
            source: argument('SOURCE', 'from'),
            target: optionalArgument('TARGET', 'to'),
          },
          options: {
            blockSize: sizes('SIZES', 'sizes', '64K'),
            depth: count('N', 'how deep', '3', { max: 9 }),
            how: choice(['fast', 'safe'], 'the way', 'safe'),
            name: text('NAME', 'a name', { short: 'n' }),
            noWait: flag('do not wait'),
            readData: optionalText('SHARE', '100%', 'read data too'),
          },
          examples: ['ferry copy a b'],
        },
        async () => ({ run: async () => {} }),
      ),
      entry(
        {
          name: 'list',
          summary: 'list things',
          arguments: { things: argumentList('THING', 'what') },
          options: {},
          examples: ['ferry list a'],
        },
        async () => ({ run: async () => {} }),
      ),
    ],
  },
];

const parse = (...words: string[]) => parseCommandLine(groups, words, '1.2.3');
const invoked = (...words: string[]) => parse(...words) as Invocation;
const printed = (...words: string[]) => parse(...words) as Printout;

test('defaults fill what is not written', () => {
  assert.deepEqual(invoked('copy', 'a').values, {
    source: 'a',
    target: undefined,
    blockSize: [65536],
    depth: 3,
    how: 'safe',
    name: undefined,
    noWait: false,
    readData: undefined,
  });
});

test('options may stand anywhere, as two words or with an equals sign', () => {
  const line = 'copy --block-size=4K,1M a -n x --depth 0 --how fast b --no-wait --read-data';
  assert.deepEqual(invoked(...line.split(' ')).values, {
    source: 'a',
    target: 'b',
    blockSize: [4096, 2 ** 20],
    depth: 0,
    how: 'fast',
    name: 'x',
    noWait: true,
    readData: '100%',
  });
  assert.equal(invoked('copy', '--read-data=10%', 'a').values.readData, '10%');
  assert.equal(invoked('copy', '--', '-odd-').values.source, '-odd-');
});

test('the options of every command may stand before it or after it', () => {
  for (const line of [
    '--repo r --json list a',
    'list --repo r a --json',
    '--json list a --repo r',
  ]) {
    const { global, values } = invoked(...line.split(' '));
    assert.equal(global.repo, 'r', line);
    assert.equal(global.json, true, line);
    assert.equal(global.quiet, false, line);
    assert.deepEqual(values.things, ['a'], line);
  }
  assert.equal(invoked('--repo', 'r', 'list', 'a', '--repo', 's').global.repo, 's');
});

test('what cannot be meant is one line with a pointer to the right help', () => {
  const refused: [string, RegExp, string][] = [
    ['copy', /missing required argument 'SOURCE'/, 'ferry copy'],
    ['copy a b c', /too many arguments/, 'ferry copy'],
    ['copy a --depth', /argument missing/, 'ferry copy'],
    ['copy a --depth 10', /--depth: expected a whole number from 0 to 9, not '10'/, 'ferry copy'],
    ['copy a --how slow', /--how: expected fast, safe, not 'slow'/, 'ferry copy'],
    ['copy a --block-size 64Q', /--block-size: '64Q' is not a size/, 'ferry copy'],
    ['copy a --dept 1', /unknown option '--dept' \(Did you mean --depth\?\)/, 'ferry copy'],
    ['copi a', /unknown command 'copi' \(Did you mean copy\?\)/, 'ferry'],
    ['help nosuch', /^unknown command 'nosuch'$/, 'ferry'],
    ['--nothing', /unknown option '--nothing'/, 'ferry'],
  ];
  for (const [line, message, help] of refused) {
    assert.throws(
      () => parse(...line.split(' ')),
      { code: 'CLI_USAGE', message, hint: `See \`${help} --help\`.` },
      line,
    );
  }
});

test('help and version are printed and are no failure; no command at all is one', () => {
  assert.deepEqual(printed('--version'), { text: '1.2.3\n', status: 0 });
  assert.match(printed('--help').text, /Copying:\n {2}copy +copy things\n/);
  assert.equal(printed('--help').status, 0);
  assert.match(printed('help', 'copy').text, /^Usage: ferry copy \[options\] SOURCE \[TARGET\]\n/);
  const help = printed('copy', '--help').text;
  assert.match(help, /--depth <N> +how deep \(default: 3\)/);
  assert.match(help, /Example:\n {2}ferry copy a b/);
  const none = printed();
  assert.equal(none.status, 2);
  assert.equal(none.text, printed('--help').text);
});

test('every command of the table has help, an example that parses, and code that loads', async () => {
  for (const { entries } of commandGroups) {
    for (const { spec, load } of entries) {
      const shown = parseCommandLine(commandGroups, [spec.name, '--help'], '1') as Printout;
      assert.equal(shown.status, 0);
      assert.ok(spec.summary.length <= 72 && !spec.summary.endsWith('.'), spec.summary);
      assert.ok(spec.examples.length > 0, spec.name);
      for (const example of spec.examples) {
        const command = example.replace(/^(?:[A-Z_]+=\S+ )+/, '').replace(/ [>|&].*/, '');
        // The file of an example is on no machine; an empty one says nothing.
        const [, ...words] = command.replace(/(?<=--config )\S+/, '/dev/null').split(' ');
        const found = parseCommandLine(commandGroups, words, '1') as Invocation;
        assert.equal(found.entry?.spec.name, spec.name, example);
      }
      assert.equal(typeof (await load()).run, 'function');
    }
  }
});
