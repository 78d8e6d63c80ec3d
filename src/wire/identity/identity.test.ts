/** Goal: nodes know each other by certificates that they made themselves, and nobody else. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { test } from 'node:test';
import { hasCode, nodeEnv, type SecureStream, type Tls, toHex } from '../../core/index.ts';
import { dialSession } from '../dial.ts';
import { dialTls } from '../dial-tls.ts';
import { SessionHost } from '../host.ts';
import { BLOCK_DATA } from '../messages/index.ts';
import { Recorder } from '../session.suite.ts';
import type { Session } from '../session.ts';
import { createIdentity, loadIdentity, type NodeIdentity } from './certificate.ts';
import { OneTimeTokens } from './one-time-tokens.ts';
import { checkPinned, checkVouched } from './trust.ts';

const env = nodeEnv();
const YEAR_MS = 365 * 24 * 3600 * 1000;
const wallMs = Date.UTC(2026, 5, 1);

function identity(name: string, validToMs?: number): NodeIdentity {
  const validTo = validToMs === undefined ? {} : { validToMs };
  return createIdentity({ random: env.random, wallMs, name, ...validTo });
}

const agent = identity('agent');
const provider = identity('provider');

test('a certificate says what it should, in the words of others', () => {
  const certificate = new X509Certificate(provider.certificates);
  assert.equal(certificate.subject, 'CN=provider');
  assert.equal(certificate.subjectAltName, 'DNS:provider');
  assert.equal(certificate.ca, false);
  assert.deepEqual(certificate.keyUsage, ['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2']);
  assert.ok(certificate.verify(certificate.publicKey), 'signed by itself');
  assert.equal(certificate.checkHost('provider'), 'provider');
  assert.equal(certificate.validFromDate.toISOString(), '2020-01-01T00:00:00.000Z');
  assert.ok(certificate.validToDate.getTime() > wallMs + 19 * YEAR_MS);
  assert.equal(
    certificate.fingerprint256.replaceAll(':', '').toLowerCase(),
    toHex(provider.fingerprint),
  );
  assert.notDeepEqual(identity('provider').fingerprint, provider.fingerprint);
});

test('an identity that was kept is loaded, one of mixed files is refused', () => {
  assert.deepEqual(loadIdentity(agent), agent);
  const mixed = { certificates: agent.certificates, key: provider.key };
  assert.throws(
    () => loadIdentity(mixed),
    (error) => hasCode(error, 'WIRE_FORMAT'),
  );
  assert.throws(
    () => loadIdentity({ ...agent, key: new Uint8Array(9) }),
    (error) => hasCode(error, 'WIRE_FORMAT'),
  );
});

test('names that are none are refused', () => {
  for (const name of ['', '..', 'a/b', 'a b', '-x', 'x'.repeat(64), 'a\0']) {
    assert.throws(
      () => identity(name),
      (error) => hasCode(error, 'WIRE_FORMAT'),
      name,
    );
  }
});

test('only a pinned certificate that is valid now is trusted', () => {
  const shown = (one: NodeIdentity) => {
    const certificate = new X509Certificate(one.certificates);
    return {
      fingerprint: one.fingerprint,
      validFromMs: certificate.validFromDate.getTime(),
      validToMs: certificate.validToDate.getTime(),
      names: [],
      isVouchedFor: false,
    };
  };
  const pins = [provider.fingerprint, agent.fingerprint];
  assert.equal(checkPinned(shown(agent), pins, wallMs), 1);
  const refused = (peer: Parameters<typeof checkPinned>[0], atMs = wallMs) =>
    assert.throws(
      () => checkPinned(peer, pins, atMs),
      (error) => hasCode(error, 'WIRE_NOT_TRUSTED'),
    );
  refused(undefined);
  refused(shown(identity('agent')));
  refused(shown(agent), wallMs + 21 * YEAR_MS);
  refused(shown(agent), Date.UTC(2019, 0, 1));
});

test('a token opens once, in time, and no other does', () => {
  let nowMs = 0;
  const clock = { ...env.clock, monotonicMs: () => nowMs };
  const options = { clock, random: env.random, tokenBytes: 32, countMax: 2, validMs: 1_000 };
  const tokens = new OneTimeTokens<string>(options);
  const refused = (token: Uint8Array) =>
    assert.throws(
      () => tokens.redeem(token),
      (error) => hasCode(error, 'WIRE_TOKEN'),
    );
  const first = tokens.issue('first');
  const second = tokens.issue('second');
  assert.throws(
    () => tokens.issue('third'),
    (error) => hasCode(error, 'WIRE_BUSY'),
  );
  refused(new Uint8Array(32));
  refused(first.slice(1));
  assert.equal(tokens.redeem(first), 'first');
  refused(first);
  nowMs = 1_001;
  refused(second);
});

type Served = { readonly refusals: unknown[]; readonly atServer: Recorder; dial: Dial };
type Dial = (own: NodeIdentity, pins: readonly Uint8Array[]) => Promise<[Session, Recorder]>;

async function served(
  host: NodeIdentity,
  pins: readonly Uint8Array[],
  act: (served: Served) => Promise<void>,
): Promise<void> {
  const refusals: unknown[] = [];
  const atServer = new Recorder();
  const tls = env.net.tls({ role: 'server', credentials: { kind: 'pinned', identity: host } });
  const sessions = new SessionHost({
    ...{ env, tls, streamLanes: 2 },
    admit({ certificate }) {
      checkPinned(certificate, pins, env.clock.wallMs());
      return { identity: toHex(certificate!.fingerprint), open: () => atServer };
    },
    onRefused: (error) => void refusals.push(error),
  });
  const listening = { kind: 'tcp', host: '127.0.0.1', port: 0 } as const;
  const listener = await env.net.listen(listening, (stream) => sessions.accept(stream));
  const opened: Session[] = [];
  const dial: Dial = async (own, hostPins) => {
    const atClient = new Recorder();
    const { session } = await dialSession({
      ...{ env, identity: 'provider', handlers: atClient, streamLanes: 2 },
      dial: () => dialTls(env, { address: listener.address, identity: own, pins: hostPins }),
    });
    opened.push(session);
    return [session, atClient];
  };
  try {
    await act({ refusals, atServer, dial });
  } finally {
    for (const session of opened) session.end();
    sessions.close('over');
    await listener.close();
  }
}

test('two nodes that pinned each other talk, over several connections', async () => {
  await served(provider, [agent.fingerprint], async ({ atServer, dial }) => {
    const [session] = await dial(agent, [provider.fingerprint]);
    let left = 200;
    const all = Promise.withResolvers<void>();
    const send = () => {
      const parts = [new Uint8Array(100_000).fill(left)];
      session.send({
        ...{ type: BLOCK_DATA, parts, priority: 2 },
        onAcknowledged() {
          left -= 1;
          if (left === 0) all.resolve();
          else if (left >= 8) send();
        },
      });
    };
    for (let at = 0; at < 8; at += 1) send();
    await all.promise;
    assert.ok(atServer.messages.length >= 200);
    assert.ok(atServer.messages.every(({ body }) => body.every((byte) => byte === body[0])));
    assert.deepEqual(session.lanes.map(({ kind }) => kind).sort(), ['control', 'tls', 'tls']);
  });
});

test('a foreign agent is told that it is not trusted', async () => {
  await served(provider, [agent.fingerprint], async ({ refusals, dial }) => {
    await assert.rejects(dial(identity('agent'), [provider.fingerprint]), {
      code: 'WIRE_REMOTE',
      remoteCode: 'WIRE_NOT_TRUSTED',
    });
    assert.ok(hasCode(refusals[0], 'WIRE_NOT_TRUSTED'));
  });
});

test('an agent whose certificate has expired is told so', async () => {
  const expired = identity('agent', wallMs - YEAR_MS);
  await served(provider, [expired.fingerprint], async ({ dial }) => {
    await assert.rejects(dial(expired, [provider.fingerprint]), /expired 2025-/);
  });
});

test('an agent leaves a provider that it did not pin, before it says anything', async () => {
  await served(identity('provider'), [agent.fingerprint], async ({ atServer, dial }) => {
    await assert.rejects(dial(agent, [provider.fingerprint]), { code: 'WIRE_NOT_TRUSTED' });
    assert.deepEqual(atServer.messages, []);
  });
});

test('both ends of a connection derive equal keys, and other ones for another context', async () => {
  const server = env.net.tls({
    role: 'server',
    credentials: { kind: 'pinned', identity: provider },
  });
  const ends = await Promise.all(await connected(server));
  const keys = ends.map((end) => toHex(end.exportKey(32, 'EXPORTER-test', Uint8Array.of(1))));
  assert.equal(keys[0], keys[1]);
  assert.notEqual(toHex(ends[0]!.exportKey(32, 'EXPORTER-test', Uint8Array.of(2))), keys[0]);
  assert.deepEqual(ends[0]!.peerCertificate!.fingerprint, agent.fingerprint);
  for (const end of ends) {
    end.start({ onBytes() {}, onDrained() {}, onEnd() {}, onClosed() {} });
    end.destroy();
  }
});

test('bytes come as they were sent, all but the first in one buffer', async () => {
  const credentials = { kind: 'pinned', identity: provider } as const;
  const server = env.net.tls({ role: 'server', credentials });
  const [from, to] = await Promise.all(await connected(server));
  const sent = Buffer.concat(Array.from({ length: 40 }, (_, at) => Buffer.alloc(77_777, at)));
  const got: Buffer[] = [];
  const memories: unknown[] = [];
  const over = Promise.withResolvers<void>();
  const quiet = { onBytes() {}, onDrained() {}, onEnd() {}, onClosed() {} };
  from!.start(quiet);
  from!.write([sent.subarray(0, 100)]);
  to!.start({
    ...quiet,
    onBytes(view) {
      if (got.length === 0) from!.write([sent.subarray(100)], () => from!.end());
      got.push(Buffer.from(view));
      memories.push(view.buffer);
    },
    onEnd: () => over.resolve(),
  });
  await over.promise;
  assert(Buffer.concat(got).equals(sent));
  assert.equal(new Set(memories.slice(1)).size, 1);
  for (const end of [from!, to!]) end.destroy();
});

async function connected(server: Tls): Promise<Promise<SecureStream>[]> {
  const accepted = Promise.withResolvers<SecureStream>();
  const listening = { kind: 'tcp', host: '127.0.0.1', port: 0 } as const;
  const listener = await env.net.listen(listening, (stream) => {
    accepted.resolve(server.secure(stream, { hostName: undefined, timeoutMs: 5_000 }));
  });
  const options = { address: listener.address, identity: agent, pins: [provider.fingerprint] };
  const dialled = dialTls(env, options).finally(() => listener.close());
  return [accepted.promise, dialled];
}

test('a certificate is for the hosts that it names, however they are written', () => {
  const peer = {
    ...{ fingerprint: new Uint8Array(32), validFromMs: 0, validToMs: 2, isVouchedFor: true },
    names: ['DNS:Vault.example.org', 'IP Address:2001:DB8:0:0:0:0:0:1', 'URI:other'],
  };
  for (const host of ['vault.example.org', 'VAULT.example.org', '2001:db8::1']) {
    checkVouched(peer, host, 1);
  }
  for (const host of ['vault', 'x.vault.example.org', '2001:db8::2', 'other', '']) {
    assert.throws(() => checkVouched(peer, host, 1), { code: 'WIRE_NOT_TRUSTED' }, host);
  }
});
