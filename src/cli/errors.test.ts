/** Goal: every failure ends in one line with a hint and in its own exit status. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EnvError, FerryError } from '../core/index.ts';
import { CliError, showError, usageError } from './errors.ts';
import { statusOf } from './exit-codes.ts';
import { fakeTerminal } from './testing/fake-terminal.ts';

const people = { json: false, verbose: false };
const missing = new EnvError('ENV_NOT_FOUND', 'cannot open disk.img: it is not there', {
  hint: 'Check the path.',
});

test('people get the message and the hint, on stderr', () => {
  const terminal = fakeTerminal();
  assert.equal(showError(missing, terminal, people), 1);
  assert.equal(terminal.err, 'ferry: cannot open disk.img: it is not there\n  Check the path.\n');
  assert.equal(terminal.out, '');
});

test('programs get a JSON object with the code', () => {
  const terminal = fakeTerminal();
  showError(missing, terminal, { json: true, verbose: true });
  assert.deepEqual(JSON.parse(terminal.err), {
    message_type: 'error',
    code: 'ENV_NOT_FOUND',
    message: 'cannot open disk.img: it is not there',
    hint: 'Check the path.',
  });
});

test('--verbose shows the causes by code, and stacks only of what nobody expected', () => {
  const cause = new EnvError('ENV_IO', 'read failed', { hint: 'Look at the disk.' });
  const error = new FerryError('STORE_DAMAGED', 'a pack is damaged', { hint: 'Run check.', cause });
  const terminal = fakeTerminal();
  showError(error, terminal, { json: false, verbose: true });
  assert.match(terminal.err, /cause: ENV_IO: read failed\n/);
  assert.doesNotMatch(terminal.err, /\n\s+at /);
});

test('an unknown exception is an internal error, with its stack only under --verbose', () => {
  const brief = fakeTerminal();
  assert.equal(showError(new TypeError('x is not a function'), brief, people), 1);
  assert.match(brief.err, /^ferry: internal error: x is not a function\n {2}This is a defect/);
  assert.doesNotMatch(brief.err, /\n\s+at /);
  const long = fakeTerminal();
  showError(new TypeError('x is not a function'), long, { json: false, verbose: true });
  assert.match(long.err, /\n\s+at /);
});

test('statuses follow the codes', () => {
  const statuses = {
    CLI_USAGE: 2,
    STORE_NOT_A_REPOSITORY: 10,
    STORE_BUSY: 11,
    STORE_DAMAGED: 20,
    STORE_MISSING: 20,
    CODEC_DAMAGED: 20,
    TRANSFER_INTERRUPTED: 130,
    CLI_INTERRUPTED: 130,
    CLI_OUTPUT_CLOSED: 141,
    CLI_TERMINATED: 143,
    DEVICE_IO: 1,
  };
  for (const [code, status] of Object.entries(statuses)) {
    assert.equal(statusOf(new FerryError(code, 'x', { hint: 'y' })), status, code);
  }
  assert.equal(statusOf(new Error('x')), 1);
});

test('a usage error points to the help of its command', () => {
  assert.equal(usageError('no such option', 'ferry ls').hint, 'See `ferry ls --help`.');
});

test('when the reader of the output has left, nothing is printed', () => {
  const terminal = fakeTerminal();
  const error = new CliError('CLI_OUTPUT_CLOSED', 'gone', { hint: '' });
  assert.equal(showError(error, terminal, people), 141);
  assert.equal(terminal.err, '');
});
