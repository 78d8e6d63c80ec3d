/** Goal: medians, ratios and turns are right, and nothing that is absent goes unnamed. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { measure } from './processes.ts';
import { interleave, median, Report } from './report.ts';

const sample = (subject: string, value: number, better: 'less' | 'more' = 'less') =>
  ({ case: 'g0', subject, metric: 'backup', value, unit: 's', better }) as const;

test('the median is the middle value, or between the two middle ones', () => {
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([4, 1, 2, 3]), 2.5);
});

test('figures are medians per case, metric and subject, in the order of their first samples', () => {
  const report = new Report('backup');
  for (const value of [5, 1, 3]) report.add(sample('borg', value));
  for (const value of [2, 4, 6]) report.add(sample('blockferry', value));
  assert.deepEqual(report.figures(), [
    { bench: 'backup', case: 'g0', subject: 'borg', metric: 'backup', value: 3, unit: 's' },
    { bench: 'backup', case: 'g0', subject: 'blockferry', metric: 'backup', value: 4, unit: 's' },
  ]);
});

test('the ratio is to the best peer, whichever direction is good', () => {
  const less = new Report('x');
  for (const [subject, value] of [
    ['blockferry', 2],
    ['borg', 4],
    ['bup', 8],
  ] as const) {
    less.add(sample(subject, value));
  }
  assert.match(less.table(), /0\.50 \(borg; less is better\)/);
  const more = new Report('x');
  for (const [subject, value] of [
    ['blockferry', 2],
    ['borg', 4],
    ['bup', 8],
  ] as const) {
    more.add(sample(subject, value, 'more'));
  }
  assert.match(more.table(), /0\.25 \(bup; more is better\)/);
});

test('what is absent is named, in the table and in the JSON lines', () => {
  const report = new Report('backup');
  report.add(sample('blockferry', 2));
  report.absent('bup', 'bup is not installed');
  assert.match(report.table(), /absent: bup \(bup is not installed\)/);
  const lines = report
    .jsonLines()
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  assert.equal(lines[0].value, 2);
  assert.deepEqual(lines[1], {
    bench: 'backup',
    subject: 'bup',
    absent: 'bup is not installed',
  });
});

test('subjects take turns, and each round begins with another one', async () => {
  const order: string[] = [];
  await interleave(['a', 'b', 'c'], 3, async (subject, round) => void order.push(subject + round));
  assert.equal(order.join(' '), 'a0 b0 c0 b1 c1 a1 c2 a2 b2');
});

test('a command is measured with the peak of its helpers, and a failure tells what it printed', async () => {
  const megabytes = 200;
  // The inner shell keeps a child; the child fills memory and waits long enough to be seen.
  const program = `const b = Buffer.alloc(${megabytes}e6, 1); setTimeout(() => b.at(0), 700)`;
  const { seconds, peakBytes } = await measure({
    words: ['sh', '-c', '"$0" -e "$1"; true', process.execPath, program],
  });
  assert.ok(seconds >= 0.7);
  assert.ok(peakBytes > megabytes * 1e6 && peakBytes < 3 * megabytes * 1e6, `${peakBytes}`);
  await assert.rejects(
    measure({ words: ['sh', '-c', 'echo no luck; exit 3'] }),
    /status 3\nno luck/,
  );
});
