/** Goal: TLS begins clean, is never given up by a side that demands it, and harms nobody else. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Stream, TlsCredentials } from '../core/index.ts';
import { type ConnectOptions, connect, list } from './connect.ts';
import {
  OPTION_ABORT,
  OPTION_EXPORT_NAME,
  OPTION_GO,
  OPTION_INFO,
  OPTION_LIST,
  OPTION_SET_META_CONTEXT,
  OPTION_STARTTLS,
  OPTION_STRUCTURED_REPLY,
  REPLY_ACK,
  REPLY_ERROR_INVALID,
  REPLY_ERROR_POLICY,
  REPLY_ERROR_TLS_REQUIRED,
  REPLY_ERROR_UNSUPPORTED,
} from './constants.ts';
import {
  askOption,
  env,
  freshAddress,
  greetedClient,
  rawPeer,
  readyClient,
  requestOf,
  serveDevice,
  smallMemory,
  takeSimple,
} from './loopback.suite.ts';
import {
  encodeInfoRequest,
  encodeMetaRequest,
  greeting,
  optionBytes,
  optionReplyBytes,
} from './option-codec.ts';
import type { NbdServer } from './server.ts';
import { parseKeys, type ServeTlsOptions } from './tls.ts';
import { parseUri } from './uri.ts';

function keys(...users: string[]): TlsCredentials {
  const lines = users.map((user, index) => `${user}:${String(index + 10).repeat(16)}`);
  return { kind: 'pre-shared-keys', keys: parseKeys(lines.join('\n'), 'keys') };
}

const both = keys('alice', 'bob');
const alice: TlsCredentials = { ...keys('alice'), user: 'alice' } as TlsCredentials;

function secured(mode: ServeTlsOptions['mode'], options = {}): Promise<NbdServer> {
  return serveDevice(smallMemory(), { tls: { mode, credentials: both }, ...options });
}

const nothing = new Uint8Array(0);
const asking = encodeInfoRequest({ name: '', infos: [] });

test('over TLS a device is read and written as ever, in large and small pieces', async () => {
  await using server = await secured('require');
  assert.match(server.uri, /^nbds\+unix:/);
  await using client = await connect(env, server.uri, { tls: alice, connections: 3 });
  assert.equal(client.replies, 'extended');
  const source = Uint8Array.from({ length: 900_001 }, (_, at) => (at >> 8) % 251);
  await client.write(source, 3, 0);
  await client.flush();
  const reads = Array.from({ length: 200 }, async (_, index) => {
    const target = new Uint8Array(4096);
    await client.read(target, 3 + index * 4096);
    assert.deepEqual(target, source.slice(index * 4096, (index + 1) * 4096));
  });
  await Promise.all(reads);
  const whole = new Uint8Array(source.byteLength);
  await client.read(whole, 3);
  assert.deepEqual(whole, source);
  assert.deepEqual(await list(env, server.uri, { tls: alice }), ['']);
});

test('a server that demands TLS tells a client in the clear nothing', async () => {
  await using server = await secured('require');
  const peer = await greetedClient(server);
  for (const option of [OPTION_GO, OPTION_INFO, OPTION_LIST, OPTION_STRUCTURED_REPLY]) {
    assert.deepEqual(await askOption(peer, option, asking), [REPLY_ERROR_TLS_REQUIRED]);
  }
  assert.deepEqual(await askOption(peer, OPTION_ABORT), [REPLY_ACK]);
  const rude = await greetedClient(server);
  rude.send(optionBytes(OPTION_EXPORT_NAME, nothing));
  await rude.ended;
  assert.equal(rude.inbound.waitingBytes, 0);
  for (const { stream } of [peer, rude]) stream.destroy();
  const plain = { ...parseUri(server.uri), tls: false };
  await assert.rejects(connect(env, plain), { code: 'NBD_TLS' });
  await assert.rejects(list(env, plain), { code: 'NBD_TLS' });
});

test('where TLS is optional, both kinds of clients are served', async () => {
  await using server = await secured('allow');
  assert.match(server.uri, /^nbd\+unix:/);
  await using plain = await connect(env, server.uri);
  const secure = { ...parseUri(server.uri), tls: true };
  await using encrypted = await connect(env, secure, { tls: alice });
  await plain.write(Uint8Array.of(1, 2, 3), 0, 0);
  const target = new Uint8Array(3);
  await encrypted.read(target, 0);
  assert.deepEqual([...target], [1, 2, 3]);
});

test('STARTTLS without TLS, with data, or twice is refused, and haggling goes on', async () => {
  await using without = await serveDevice(smallMemory());
  const peer = await greetedClient(without);
  assert.deepEqual(await askOption(peer, OPTION_STARTTLS), [REPLY_ERROR_POLICY]);
  assert.equal((await askOption(peer, OPTION_GO, asking)).at(-1), REPLY_ACK);
  peer.stream.destroy();
  await using server = await secured('allow');
  const other = await greetedClient(server);
  const odd = await askOption(other, OPTION_STARTTLS, Uint8Array.of(1));
  assert.deepEqual(odd, [REPLY_ERROR_INVALID]);
  const again = await startTls(other.stream, other);
  assert.deepEqual(await askOption(again, OPTION_STARTTLS), [REPLY_ERROR_INVALID]);
  again.stream.destroy();
});

/** Sends STARTTLS, and answers the same peer behind TLS. */
async function startTls(stream: Stream, peer: ReturnType<typeof rawPeer>) {
  assert.deepEqual(await askOption(peer, OPTION_STARTTLS), [REPLY_ACK]);
  const tls = env.net.tls({ role: 'client', credentials: alice });
  return rawPeer(await tls.secure(stream, { hostName: undefined, timeoutMs: 5_000 }));
}

test('what was agreed on in the clear is forgotten', async () => {
  await using server = await secured('allow');
  const peer = await greetedClient(server);
  await askOption(peer, OPTION_STRUCTURED_REPLY);
  const query = encodeMetaRequest({ name: '', queries: ['base:allocation'] });
  assert.equal((await askOption(peer, OPTION_SET_META_CONTEXT, query)).length, 2);
  const behind = await startTls(peer.stream, peer);
  // Contexts need structured replies, which are no longer agreed on.
  const refused = await askOption(behind, OPTION_SET_META_CONTEXT, query);
  assert.deepEqual(refused, [REPLY_ERROR_INVALID]);
  assert.equal((await askOption(behind, OPTION_GO, asking)).at(-1), REPLY_ACK);
  behind.send(requestOf({ command: 3, cookieLow: 7 }));
  assert.deepEqual(await takeSimple(behind), { error: 0, cookie: 7 });
  behind.stream.destroy();
});

for (const when of ['together with STARTTLS', 'right after the answer'] as const) {
  test(`an option in the clear, sent ${when}, is not executed`, async () => {
    let opened = 0;
    const find = () => {
      opened += 1;
      return smallMemory();
    };
    const credentials = both;
    await using server = await serveDevice(
      { find, list: () => [] },
      { tls: { mode: 'allow', credentials } },
    );
    const peer = await greetedClient(server);
    const go = optionBytes(OPTION_GO, asking);
    if (when === 'together with STARTTLS') peer.send(optionBytes(OPTION_STARTTLS, nothing), go);
    else {
      assert.deepEqual(await askOption(peer, OPTION_STARTTLS), [REPLY_ACK]);
      peer.send(go);
    }
    await peer.ended;
    assert.equal(opened, 0);
    peer.stream.destroy();
  });
}

/** A server that says what `talk` makes it say after the client's flags. */
async function withFalseServer(
  talk: (peer: ReturnType<typeof rawPeer>) => Promise<void>,
  use: (open: (options?: ConnectOptions) => Promise<unknown>) => Promise<void>,
  flags = 3,
): Promise<void> {
  const address = freshAddress();
  const streams: Stream[] = [];
  const listener = await env.net.listen(address, (stream) => {
    streams.push(stream);
    const peer = rawPeer(stream);
    peer.send(greeting(flags));
    void peer.inbound
      .take(4)
      .then(() => talk(peer))
      .catch(() => {});
  });
  const uri = { address, tls: true, exportName: '' };
  try {
    await use((options) => connect(env, uri, { tls: alice, ...options }));
  } finally {
    for (const stream of streams) stream.destroy();
    await listener.close();
  }
}

test('a client that wants TLS asks a server without it for nothing else', async () => {
  for (const type of [REPLY_ERROR_UNSUPPORTED, REPLY_ERROR_POLICY]) {
    let seen: Uint8Array = nothing;
    await withFalseServer(
      async (peer) => {
        await peer.inbound.take(16);
        peer.send(optionReplyBytes(OPTION_STARTTLS, type, nothing));
        await peer.ended;
        seen = peer.inbound.rest();
      },
      async (open) => {
        await assert.rejects(open(), { code: 'NBD_TLS' });
      },
    );
    assert.equal(seen.byteLength, 0);
  }
  await withFalseServer(
    async () => {},
    (open) => assert.rejects(open(), { code: 'NBD_TLS' }),
    2,
  );
});

test('what a server sends in the clear behind its answer to STARTTLS ends the talk', () =>
  withFalseServer(
    async (peer) => {
      await peer.inbound.take(16);
      const ack = optionReplyBytes(OPTION_STARTTLS, REPLY_ACK, nothing);
      peer.send(ack, optionReplyBytes(OPTION_STRUCTURED_REPLY, REPLY_ACK, nothing));
    },
    async (open) => {
      await assert.rejects(open(), { code: /NBD_PROTOCOL|ENV_TLS/ });
    },
  ));

test('a server that says yes and then does nothing is left after the time limit', () =>
  withFalseServer(
    async (peer) => {
      await peer.inbound.take(16);
      peer.send(optionReplyBytes(OPTION_STARTTLS, REPLY_ACK, nothing));
    },
    async (open) => {
      await assert.rejects(open({ connectTimeoutMs: 50 }), { code: /TIMEOUT/ });
    },
  ));

test('a wrong key and an unknown user are refused, and others go on', async () => {
  const troubles: unknown[] = [];
  await using server = await secured('require', {
    onTrouble: (_peer: string, error: unknown) => void troubles.push(error),
  });
  const wrong: TlsCredentials = {
    kind: 'pre-shared-keys',
    keys: parseKeys(`alice:${'77'.repeat(32)}`, 'keys'),
  };
  await using client = await connect(env, server.uri, { tls: alice });
  await assert.rejects(connect(env, server.uri, { tls: wrong }), { code: /ENV_TLS|NBD_CLOSED/ });
  const nobody: TlsCredentials = { ...keys('carol'), user: 'carol' } as TlsCredentials;
  await assert.rejects(connect(env, server.uri, { tls: nobody }), { code: /ENV_TLS|NBD_CLOSED/ });
  await client.read(new Uint8Array(512), 0);
  assert.equal(server.connectionCount, 1);
  assert.equal(troubles.length, 2);
});

test('clients that never finish TLS do not keep the server from closing', async () => {
  const server = await secured('require');
  const peers = await Promise.all(Array.from({ length: 20 }, () => greetedClient(server)));
  for (const peer of peers) assert.deepEqual(await askOption(peer, OPTION_STARTTLS), [REPLY_ACK]);
  // A record header that announces more than ever comes.
  for (const peer of peers) peer.send([22, 3, 1, 2, 0, 1]);
  assert.equal(server.connectionCount, 20);
  await server.close();
  assert.equal(server.connectionCount, 0);
});

test('a client that leaves in the middle of TLS leaves nothing behind', async () => {
  const gone = Promise.withResolvers<void>();
  await using server = await secured('require', { onTrouble: () => gone.resolve() });
  const peer = await greetedClient(server);
  await askOption(peer, OPTION_STARTTLS);
  peer.stream.destroy();
  await gone.promise;
  assert.equal(server.connectionCount, 0);
});

test('key files are read strictly, and their errors do not show the keys', () => {
  const parsed = parseKeys('# users\n\nalice:00FF\r\nbob:01\n', 'f');
  assert.deepEqual(
    [...parsed],
    [
      ['alice', Uint8Array.of(0, 255)],
      ['bob', Uint8Array.of(1)],
    ],
  );
  for (const text of ['', 'alice', 'alice:', ':00', 'alice:0', 'alice:5ec4e7', 'a:00\na:01']) {
    const bad = text === 'alice:5ec4e7' ? `${text}x` : text;
    assert.throws(
      () => parseKeys(bad, 'f'),
      (error: Error & { code: string }) => {
        assert.equal(error.code, 'NBD_TLS');
        assert.doesNotMatch(error.message, /5ec4e7/);
        return true;
      },
    );
  }
});

test('a plain client and one in mid-handshake share a server with a ready one', async () => {
  await using server = await secured('allow');
  const stuck = await greetedClient(server);
  await askOption(stuck, OPTION_STARTTLS);
  const ready = await readyClient(server);
  ready.send(requestOf({ command: 3, cookieLow: 1 }));
  assert.equal((await takeSimple(ready)).error, 0);
  ready.stream.destroy();
  stuck.stream.destroy();
});
