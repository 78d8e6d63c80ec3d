/** Goal: an address is what a person means by it, or refused with the ways to write one. */
import assert from 'node:assert/strict';
import { resolve } from 'node:path';
import { test } from 'node:test';
import { listen, parseAddress } from './listen.ts';

test('hosts, IPv6 addresses and sockets are understood', () => {
  assert.deepEqual(parseAddress('127.0.0.1:10809'), {
    kind: 'tcp',
    host: '127.0.0.1',
    port: 10809,
  });
  assert.deepEqual(parseAddress('host.example:0'), { kind: 'tcp', host: 'host.example', port: 0 });
  assert.deepEqual(parseAddress('[::1]:65535'), { kind: 'tcp', host: '::1', port: 65535 });
  assert.deepEqual(parseAddress('unix:/run/a b.sock'), { kind: 'unix', path: '/run/a b.sock' });
  assert.deepEqual(parseAddress('unix:a.sock'), { kind: 'unix', path: resolve('a.sock') });
  assert.equal(listen.parse([]), undefined);
});

test('what is no address is refused', () => {
  const tooLong = `unix:/${'x'.repeat(107)}`;
  for (const text of [
    '',
    '10809',
    'host',
    'host:',
    ':1',
    '::1:1',
    'host:65536',
    'unix:',
    tooLong,
  ]) {
    assert.throws(() => parseAddress(text), /is no address|has at most 107 bytes/, text);
  }
  assert.equal(parseAddress(`unix:/${'x'.repeat(106)}`).kind, 'unix');
});
