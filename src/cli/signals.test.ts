/** Goal: the first wish stops cleanly, a second one at once, an echo of the first not at all. */
import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { test } from 'node:test';
import { watchSignals } from './signals.ts';
import { fakeClock } from './testing/fake-terminal.ts';

function fakeProcess() {
  const exits: number[] = [];
  return Object.assign(new EventEmitter(), { exits, exit: (status: number) => exits.push(status) });
}

test('SIGINT aborts with its reason, a later one exits with 130', () => {
  const process = fakeProcess();
  const clock = fakeClock();
  using signals = watchSignals(process, clock, () => {});
  process.emit('SIGINT');
  assert.equal(signals.signal.reason.code, 'CLI_INTERRUPTED');
  assert.deepEqual(process.exits, []);
  clock.nowMs = 1000;
  process.emit('SIGINT');
  assert.deepEqual(process.exits, [130]);
});

test('the copy that npm passes on is not a second wish', () => {
  const process = fakeProcess();
  const clock = fakeClock();
  using signals = watchSignals(process, clock, () => {});
  process.emit('SIGINT');
  clock.nowMs = 20;
  process.emit('SIGINT');
  assert.ok(signals.signal.aborted);
  assert.deepEqual(process.exits, []);
});

test('SIGTERM and SIGHUP stop cleanly as well', () => {
  for (const name of ['SIGTERM', 'SIGHUP']) {
    const process = fakeProcess();
    using signals = watchSignals(process, fakeClock(), () => {});
    process.emit(name);
    assert.equal(signals.signal.reason.code, 'CLI_TERMINATED');
  }
});

test('SIGUSR1 asks for the status and stops nothing', () => {
  const process = fakeProcess();
  let asked = 0;
  using signals = watchSignals(process, fakeClock(), () => {
    asked += 1;
  });
  process.emit('SIGUSR1');
  assert.equal(asked, 1);
  assert.equal(signals.signal.aborted, false);
});

test('SIGUSR2 is heard by whoever asked for it, until it is disposed', () => {
  const process = fakeProcess();
  using signals = watchSignals(process, fakeClock(), () => {});
  let commits = 0;
  {
    using _listener = signals.onCommit(() => {
      commits += 1;
    });
    process.emit('SIGUSR2');
    process.emit('SIGUSR2');
  }
  assert.equal(process.emit('SIGUSR2'), false);
  assert.deepEqual([commits, signals.signal.aborted], [2, false]);
});

test('afterwards nothing listens any more', () => {
  const process = fakeProcess();
  watchSignals(process, fakeClock(), () => {})[Symbol.dispose]();
  assert.deepEqual(process.eventNames(), []);
});
