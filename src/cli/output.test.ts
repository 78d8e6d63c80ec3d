/** Goal: people and programs each get what is theirs, on the right stream. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CliError, showError } from './errors.ts';
import { type OutputOptions, output } from './output.ts';
import { fakeClock, fakeTerminal } from './testing/fake-terminal.ts';
import { type Column, tableLines, textTable } from './text-table.ts';

const plain: OutputOptions = { json: false, quiet: false, verbose: false, progress: true };

test('people get texts, the summary last', () => {
  const terminal = fakeTerminal();
  const out = output(terminal, fakeClock(), plain);
  out.status({ uri: 'nbd://x' }, 'listening on nbd://x');
  out.item('snapshot', { id: 'ab' }, 'ab  today');
  out.summary({ count: 1 }, '1 snapshot');
  assert.equal(terminal.out, 'listening on nbd://x\nab  today\n1 snapshot\n');
  assert.equal(terminal.err, '');
});

test('with --quiet only what was asked for remains', () => {
  const terminal = fakeTerminal({ drawsProgress: true });
  const clock = fakeClock();
  const out = output(terminal, clock, { ...plain, quiet: true });
  out.status({}, 'working');
  const progress = out.progress('reading', 100);
  clock.nowMs = 5000;
  progress.update(50);
  out.item('snapshot', {}, 'ab  today');
  out.summary({}, 'done');
  assert.equal(terminal.out, 'ab  today\n');
  assert.equal(terminal.err, '');
});

test('programs get one JSON object per line, each with its type, and no texts', () => {
  const terminal = fakeTerminal();
  const out = output(terminal, fakeClock(), { ...plain, json: true });
  out.text('a table');
  out.status({ uri: 'nbd://x' }, 'listening');
  out.item('snapshot', { id: 'ab', sizeBytes: 4096, parent: undefined }, 'ab');
  out.warn('half of it');
  out.summary({ count: 1 }, 'done');
  assert.deepEqual(terminal.lines(), [
    { message_type: 'status', uri: 'nbd://x' },
    { message_type: 'snapshot', id: 'ab', sizeBytes: 4096 },
    { message_type: 'summary', count: 1 },
  ]);
  assert.deepEqual(JSON.parse(terminal.err), { message_type: 'warning', message: 'half of it' });
});

test('details are for --verbose and go to stderr', () => {
  const terminal = fakeTerminal();
  output(terminal, fakeClock(), plain).detail('chunk size 64K');
  assert.equal(terminal.err, '');
  output(terminal, fakeClock(), { ...plain, verbose: true }).detail('chunk size 64K');
  assert.equal(terminal.err, 'chunk size 64K\n');
});

test('a bar on a terminal shows share, rate and time left, and is cleared before other text', () => {
  const terminal = fakeTerminal({ drawsProgress: true });
  const clock = fakeClock();
  const out = output(terminal, clock, plain);
  const progress = out.progress('reading', 4 * 2 ** 20);
  progress.update(0);
  assert.equal(terminal.err, '', 'nothing is drawn at once');
  clock.nowMs = 1000;
  progress.update(2 ** 20);
  assert.match(terminal.err, /\[#+\.+\] reading {2}1\.00 MiB {2}of 4\.00 MiB \(25\.0 %\)/);
  assert.match(terminal.err, /1\.00 MiB\/s {2}3\.00 s left/);
  out.text('a line');
  assert.ok(terminal.err.endsWith('\r\x1b[K'));
});

test('a bar is never wider than the terminal', () => {
  const terminal = { ...fakeTerminal({ drawsProgress: true }), columns: () => 20 };
  const clock = fakeClock();
  const drawn: string[] = [];
  terminal.writeError = (text) => void drawn.push(text);
  const progress = output(terminal, clock, plain).progress('reading a long name', 1000);
  clock.nowMs = 1000;
  progress.update(10);
  assert.ok(drawn[0]!.replace('\r', '').replace('\x1b[K', '').length < 20);
});

test('progress is drawn ten times a second at most, and reported once a second to programs', () => {
  for (const [json, most] of [
    [false, 11],
    [true, 1],
  ] as const) {
    const terminal = fakeTerminal({ drawsProgress: true });
    const clock = fakeClock();
    const progress = output(terminal, clock, { ...plain, json }).progress('reading', 1000);
    for (; clock.nowMs <= 1000; clock.nowMs += 1) progress.update(clock.nowMs);
    const text = json ? terminal.out : terminal.err;
    const times = text.split('reading').length - 1;
    assert.ok(times >= 1 && times <= most, `${times} times`);
  }
});

test('where stderr is no terminal, or with --no-progress, nothing is drawn', () => {
  for (const [drawsProgress, progress] of [
    [false, true],
    [true, false],
  ] as const) {
    const terminal = fakeTerminal({ drawsProgress });
    const clock = fakeClock();
    const bar = output(terminal, clock, { ...plain, progress }).progress('reading', 1000);
    clock.nowMs = 10_000;
    bar.update(10);
    bar.finish();
    assert.equal(terminal.err + terminal.out, '');
  }
});

test('SIGUSR1 prints where the progress stands, also where no bar is drawn', () => {
  const terminal = fakeTerminal();
  const clock = fakeClock();
  const out = output(terminal, clock, plain);
  out.progress('reading', 4096).update(1024);
  clock.nowMs = 1000;
  out.printState();
  assert.match(terminal.err, /^ferry: reading {2}0\.98|1\.00 KiB {2}of 4\.00 KiB/);
});

test('the rate is that of the last seconds, not of a slow start', () => {
  const clock = fakeClock();
  const progress = output(fakeTerminal(), clock, plain).progress('reading', 2 ** 40);
  clock.nowMs = 60_000;
  progress.update(1000);
  for (let second = 0; second < 20; second += 1) {
    clock.nowMs += 1000;
    progress.update(1000 + (second + 1) * 1_000_000);
    progress.state();
  }
  assert.equal(progress.state().fields.rateBytesPerS, 1_000_000);
});

test('nothing that a terminal obeys comes through, whoever wrote it', () => {
  const terminal = fakeTerminal();
  const out = output(terminal, fakeClock(), plain);
  const hostile = 'a\x1b[31mb\rc\x9bd\u202ee\x7f';
  const rows = [[`${hostile}\nf`, 'x']];
  out.text(textTable([{ title: 'TIME' }, { title: 'TAGS' }], rows));
  out.warn(hostile);
  showError(new CliError('CLI_USAGE', hostile, { hint: hostile }), terminal, plain);
  const all = terminal.out + terminal.err;
  assert.equal(terminal.out.split('\n').length, 3);
  assert(all.includes('a\\u001b[31mb\\u000dc\\u009bd\\u202ee\\u007f\\u000af  x'));
  for (const character of '\x1b\r\x9b\u202e\x7f') assert(!all.includes(character));
});

test('very many lines are written a few at a time, without what a terminal obeys', () => {
  const terminal = fakeTerminal();
  const writes: number[] = [];
  const write = (text: string) => {
    writes.push(text.length);
    terminal.write(text);
  };
  const counted = { ...terminal, write };
  const numbers = Array.from({ length: 20_000 }, (_, at) => at);
  const columns: Column[] = [{ title: 'NUMBER', align: 'right' }, { title: 'NAME' }];
  const cellsOf = (number: number) => [String(number), `n\x1b${number % 100}`];
  output(counted, fakeClock(), plain).lines(tableLines(columns, numbers, cellsOf));
  assert.equal(terminal.out, `${textTable(columns, numbers.map(cellsOf))}\n`);
  const [title, first] = terminal.out.split('\n');
  assert.equal(title, 'NUMBER  NAME');
  assert.equal(first, '     0  n\\u001b0');
  assert(writes.length > 1 && writes.length < 20, `${writes.length} writes`);
  const programs = fakeTerminal();
  output(programs, fakeClock(), { ...plain, json: true }).lines(['a line']);
  assert.equal(programs.out, '');
});
