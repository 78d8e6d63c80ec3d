/** Goal: what goes wrong is told to the right side, counted, and harms nobody else. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodeFrame, FRAME_STORED_MAX } from '../codec/index.ts';
import {
  type Env,
  EnvError,
  equalBytes,
  hasCode,
  nodeEnv,
  type OpenFile,
  type Stream,
  sha256,
} from '../core/index.ts';
import type { Agent, RemoteVolume } from '../transfer/replicate/index.ts';
import {
  BLOCK_DATA,
  BLOCK_REFERENCE,
  EPOCH_CUT,
  encodeBlockData,
  encodeBlockReference,
  encodeEpochCut,
  HALF_OPEN_MAX,
  KIND_DATA,
  PRIORITY_DIRTY,
} from '../wire/index.ts';
import { metricsOf } from './metrics.ts';
import { KIB, noise, Place, send } from './provider.suite.ts';

const remote = (code: string) => (error: unknown) =>
  (error as { remoteCode?: string }).remoteCode === code;

async function scraped(place: Place): Promise<string> {
  const { env, server, counts } = place;
  const observed = { env, server, counts, version: '1', uri: 'ferry://x', sinceMs: 0 };
  return await (await metricsOf({ ...observed, forwarders: [] })).text();
}

async function content(place: Place, volume: string): Promise<Uint8Array> {
  await using held = (await place.server.provider('').hold(volume))!;
  const bytes = new Uint8Array(held.device.sizeBytes);
  await held.device.read(bytes, 0);
  return bytes;
}

/** Begins an epoch as the agent does by itself; its number must be one that was never used. */
async function begun(
  agent: Agent,
  { facts, epoch: base }: RemoteVolume,
  epoch = base + 1,
): Promise<number> {
  const cut = { volume: facts.number, epoch, base, authority: 1, group: 0 };
  const parts = [encodeEpochCut({ ...cut, wallMs: 0, changedBytes: 0 })];
  await agent.send({ type: EPOCH_CUT, parts, priority: PRIORITY_DIRTY });
  return epoch;
}

test('who has no place here is told why, and each reason is counted', async () => {
  await using place = await Place.make();
  await place.start();
  const token = place.server.invite();
  await place.pair('web', undefined, token);
  await assert.rejects(place.pair('other', undefined, token), remote('WIRE_TOKEN'));
  const other = place.server.invite();
  await place.pair('mail', undefined, other);
  const { peers } = await place.node('provider');
  await peers.revoke('mail');
  await assert.rejects(place.connect('mail'), remote('WIRE_NOT_TRUSTED'));
  await using agent = await place.connect('web');
  await send(agent, 'disk', noise(KIB, 1));
  const text = await scraped(place);
  for (const line of [
    'ferry_refused_total{code="WIRE_TOKEN"} 1',
    'ferry_refused_total{code="WIRE_NOT_TRUSTED"} 1',
    'ferry_paired_total 2',
    'ferry_epochs_total{tenant="",volume="disk"} 1',
    'ferry_connected{tenant="",volume="disk",agent="web"} 1',
    'ferry_lag_seconds{tenant="",volume="disk",agent="web"} 0',
  ]) {
    assert.ok(text.includes(line), `${line} is not in\n${text.replace(/^(?!ferry_).*\n/gm, '')}`);
  }
});

test('content that an agent only claims, or that is of another tenant, is not applied', async () => {
  await using place = await Place.make();
  await place.start({}, ['', 'acme']);
  await place.pair('web');
  await place.pair('stranger', 'acme');
  const secret = noise(64 * KIB, 1);
  await using stranger = await place.connect('stranger');
  await (await send(stranger, 'secret', secret)).snapshot();
  const before = noise(64 * KIB, 2);
  await using agent = await place.connect('web');
  const volume = await send(agent, 'disk', before);
  const head = { volume: volume.facts.number, request: 0 };
  const epoch = await begun(agent, volume);
  const reference = { offsetBytes: 0, lengthBytes: 64 * KIB, hash: sha256(secret) };
  const parts = [encodeBlockReference({ ...head, epoch, references: [reference] })];
  await agent.send({ type: BLOCK_REFERENCE, parts, priority: PRIORITY_DIRTY });
  const failed = (code: string) =>
    place.event((one) => one.event === 'failed' && hasCode(one.error, code));
  await failed('REPLICATE_UNKNOWN_CONTENT');
  const wrong = await begun(agent, volume, epoch + 1);
  const target = new Uint8Array(FRAME_STORED_MAX);
  const level = { algorithm: 'zstd', level: 1 } as const;
  const bytes = encodeFrame([{ kind: 'plain', bytes: secret }], level, target);
  const entry = {
    ...{ kind: KIND_DATA, offsetBytes: 0, lengthBytes: secret.byteLength },
    ...{ hash: sha256(before), blockClass: 0, importance: 0 },
  };
  const data = { ...head, epoch: wrong, entries: [entry], frame: target.slice(0, bytes) };
  await agent.send({ type: BLOCK_DATA, parts: encodeBlockData(data), priority: PRIORITY_DIRTY });
  await failed('REPLICATE_HASH');
  assert.ok(equalBytes(await content(place, 'disk'), before));
  // The session, and the next epoch, are unharmed.
  await using again = await place.connect('web');
  await send(again, 'disk', secret);
  assert.ok(equalBytes(await content(place, 'disk'), secret));
});

test('a provider whose disk is full says so, keeps what it has, and goes on when there is room', async () => {
  let isFull = false;
  await using place = await Place.make((env) => fillable(env, () => isFull));
  await place.start();
  await place.pair('web');
  const first = noise(300 * KIB, 1);
  {
    await using agent = await place.connect('web');
    await send(agent, 'disk', first);
    isFull = true;
    await assert.rejects(
      send(agent, 'disk', noise(300 * KIB, 2)),
      remote('REPLICATE_JOURNAL_FAILED'),
    );
  }
  isFull = false;
  assert.ok(equalBytes(await content(place, 'disk'), first));
  assert.ok((place.counts.errors.get('REPLICATE_JOURNAL_FAILED') ?? 0) >= 1);
  assert.deepEqual([...place.counts.failing.keys()], ['disk']);
  await using again = await place.connect('web');
  await send(again, 'disk', noise(300 * KIB, 3));
  assert.deepEqual([...place.counts.failing.keys()], []);
});

/** Writes to journals fail while the disk is full. */
function fillable(env: Env, isFull: () => boolean): Env {
  const full = () => new EnvError('ENV_NO_SPACE', 'the disk is full', { hint: 'Make room.' });
  const filled = (file: OpenFile): OpenFile =>
    new Proxy(file, {
      get(target, key) {
        const value = Reflect.get(target, key, target) as unknown;
        if (key === 'write' && isFull()) {
          return (
            _bytes: Uint8Array,
            _at: number,
            done: (error: EnvError, bytes: number) => void,
          ) => done(full(), 0);
        }
        if (key === 'writeAtOnce' && isFull()) return () => false;
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
  const files = new Proxy(env.files, {
    get(target, key) {
      if (key === 'open') {
        return async (path: string, ...rest: unknown[]) => {
          const file = await (target.open as (...words: unknown[]) => Promise<OpenFile>)(
            path,
            ...rest,
          );
          return path.includes('/journal-') ? filled(file) : file;
        };
      }
      const value = Reflect.get(target, key, target) as unknown;
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
  return { ...env, files };
}

test('clocks that are apart by hours change nothing, neither trust nor lag', async () => {
  const { clock, ...rest } = nodeEnv();
  let offsetMs = 0;
  const shifted = {
    monotonicMs: () => clock.monotonicMs(),
    bootMs: () => clock.bootMs(),
    wallMs: () => clock.wallMs() + offsetMs,
    after: clock.after.bind(clock),
  };
  await using place = await Place.make(() => ({ ...rest, clock: shifted }));
  await place.start();
  for (const [at, hours] of [-9, 0, 9].entries()) {
    // The agent's certificate is made, and its epochs are cut, by another clock.
    offsetMs = hours * 3_600_000;
    await place.node(`agent-${at}`);
    offsetMs = 0;
    await place.pair(`agent-${at}`);
    await using agent = await place.connect(`agent-${at}`);
    await send(agent, `disk-${at}`, noise(KIB, at));
    const [status] = (await place.server.provider('').list()).slice(at);
    assert.deepEqual([status!.epoch, status!.lagMs], [1, 0]);
  }
});

test('connections that say nothing are bounded and counted, and an honest agent gets in', async () => {
  await using place = await Place.make();
  await place.start();
  await place.pair('web');
  const { address } = place.server;
  const streams: Stream[] = [];
  const count = HALF_OPEN_MAX + 60;
  for (let at = 0; at < count; at += 1) {
    const stream = await place.env.net.connect(address, 5_000);
    stream.start({ onBytes() {}, onDrained() {}, onEnd() {}, onClosed() {} });
    streams.push(stream);
  }
  await using agent = await place.connect('web');
  await send(agent, 'disk', noise(KIB, 1));
  const { host } = place.server;
  assert.ok(host.halfOpenCount <= HALF_OPEN_MAX);
  assert.ok(host.crowdedOutCount >= count - HALF_OPEN_MAX);
  assert.match(await scraped(place), /^ferry_half_open_connections [1-9]/m);
  for (const stream of streams) stream.destroy();
});
