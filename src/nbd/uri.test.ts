/** Goal: URIs mean what the NBD URI document says, and survive being written and read again. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Address, isUri } from '../core/index.ts';
import { formatUri, parseUri } from './uri.ts';

const plain = { noNullPrototype: true } as const;

const tcp = (host: string, port: number): Address => ({ kind: 'tcp', host, port });
const unix = (path: string): Address => ({ kind: 'unix', path });

const good: Record<string, ReturnType<typeof parseUri>> = {
  'nbd://example.com': { address: tcp('example.com', 10809), tls: false, exportName: '' },
  'nbd://example.com/': { address: tcp('example.com', 10809), tls: false, exportName: '' },
  'nbd://host:4000/disk': { address: tcp('host', 4000), tls: false, exportName: 'disk' },
  'NBD://host//abs/olute': { address: tcp('host', 10809), tls: false, exportName: '/abs/olute' },
  'nbds://user@[2001:db8::1]:1/a%20b': {
    address: tcp('2001:db8::1', 1),
    tls: true,
    exportName: 'a b',
    credentials: { user: 'user' },
  },
  'nbd://[fe80::1%25eth0]/': { address: tcp('fe80::1%eth0', 10809), tls: false, exportName: '' },
  'nbd:///x': { address: tcp('localhost', 10809), tls: false, exportName: 'x' },
  'nbd+unix:///?socket=/tmp/s': { address: unix('/tmp/s'), tls: false, exportName: '' },
  'nbd+unix:///%C3%BC?socket=%2Ftmp%2Fa%26b': {
    address: unix('/tmp/a&b'),
    tls: false,
    exportName: 'ü',
  },
  'nbds+unix://alice@/e?tls-psk-file=f&socket=s=1': {
    address: unix('s=1'),
    tls: true,
    exportName: 'e',
    credentials: { user: 'alice', preSharedKeys: 'f' },
  },
  'nbds://host/?tls-certificates=%2Fetc/pki&tls-hostname=disk.lan&tls-verify-peer=false': {
    address: tcp('host', 10809),
    tls: true,
    exportName: '',
    credentials: { certificates: '/etc/pki', hostName: 'disk.lan', verifyPeer: false },
  },
};

for (const [text, parsed] of Object.entries(good)) {
  test(`${text} is read`, () => {
    assert.ok(isUri(text));
    assert.deepEqual(parseUri(text), parsed);
  });
}

for (const text of [
  '',
  '/dev/sda',
  'http://host/',
  'nbd:/host',
  'nbd:unix:/tmp/s',
  'nbd://host:port/',
  'nbd://host:0/',
  'nbd://host:65536/',
  'nbd://::1/',
  'nbd://[::1/',
  'nbd://host/%zz',
  'nbd://host/%ff',
  'nbd://host/a%00b',
  'nbd+unix:///disk',
  'nbd+unix:///disk?socket=',
  'nbd+unix:///disk?socket=a&socket=b',
  'nbd+unix://host/disk?socket=a',
  `nbd+unix:///?socket=/${'x'.repeat(108)}`,
  `nbd://host/${'x'.repeat(4097)}`,
  'nbd+vsock://2/disk',
  'nbd://host/a#b',
  'nbds://host/?tls-verify-peer=no',
]) {
  test(`"${text.slice(0, 40)}" is refused with NBD_URI`, () => {
    assert.throws(() => parseUri(text), { code: 'NBD_URI' });
  });
}

test('what is written is read back the same', () => {
  const name = fc.string({ unit: 'grapheme', maxLength: 40 }).filter((s) => !s.includes('\0'));
  const address = fc.oneof(
    fc.record(
      {
        kind: fc.constant('tcp' as const),
        host: fc.oneof(fc.domain(), fc.ipV4(), fc.ipV6()),
        port: fc.integer({ min: 1, max: 65_535 }),
      },
      plain,
    ),
    fc.record(
      {
        kind: fc.constant('unix' as const),
        path: name.map((text) => `/${text}`).filter((path) => Buffer.byteLength(path) < 108),
      },
      plain,
    ),
  );
  const word = name.filter((text) => text !== '');
  const credentials = fc
    .record(
      { user: word, certificates: word, preSharedKeys: word, hostName: word },
      { ...plain, requiredKeys: [] },
    )
    .filter((all) => Object.keys(all).length > 0);
  const uris = fc.oneof(
    fc.record({ address, tls: fc.boolean(), exportName: name }, plain),
    fc.record({ address, tls: fc.constant(true), exportName: name, credentials }, plain),
  );
  fc.assert(
    fc.property(uris, (uri) => {
      assert.deepEqual(parseUri(formatUri(uri)), uri);
    }),
  );
});
