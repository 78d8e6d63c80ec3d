/** Goal: whatever a monitor says, its client answers, and within bounds. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { nodeEnv, type Stream } from '../core/index.ts';
import { Qmp } from './qmp.ts';

const env = nodeEnv();
const GREETING = '{"QMP": {"version": {}}}\r\n';

/** A monitor that answers each line with what `answer` says, cut into pieces of `cutBytes`. */
async function monitor(answer: (line: string) => string, cutBytes = 1000) {
  const folder = await mkdtemp(join(tmpdir(), 'ferry-qmp-'));
  const path = join(folder, 'sock');
  const say = (stream: Stream, text: string) => {
    for (let at = 0; at < text.length; at += cutBytes) {
      stream.write([new TextEncoder().encode(text.slice(at, at + cutBytes))]);
    }
  };
  const listener = await env.net.listen({ kind: 'unix', path }, (stream) => {
    let text = '';
    stream.start({
      onBytes(view) {
        text += new TextDecoder().decode(view);
        const lines = text.split('\n');
        text = lines.pop()!;
        for (const line of lines) say(stream, answer(line));
      },
      onDrained() {},
      onEnd: () => stream.destroy(),
      onClosed() {},
    });
    say(stream, answer(''));
  });
  return {
    path,
    async [Symbol.asyncDispose]() {
      await listener.close();
      await rm(folder, { recursive: true });
    },
  };
}

/** Greets, agrees to the capabilities, and then says `text` with the id of the request. */
function saying(text: string): (line: string) => string {
  return (line) => {
    if (line === '') return GREETING;
    const { id, execute } = JSON.parse(line);
    return execute === 'qmp_capabilities'
      ? `{"return": {}, "id": ${id}}\n`
      : text.replace('ID', id);
  };
}

test('answers find their commands, among events and however they are cut', async () => {
  const event = '{"event": "JOB_STATUS_CHANGE", "data": {"id": 2}}\r\n';
  for (const cut of [1, 7, 1000]) {
    await using at = await monitor(saying(`${event}{"return": {"a": "ä"}, "id": ID}\r\n`), cut);
    await using qmp = await Qmp.connect(env, at.path);
    assert.deepEqual(await qmp.execute('query-a'), { a: 'ä' });
    assert.deepEqual(await qmp.execute('query-b', { x: 1 }), { a: 'ä' });
  }
});

test('what QEMU refuses is told in its words', async () => {
  const refusal = '{"error": {"class": "GenericError", "desc": "no such node"}, "id": ID}\n';
  await using at = await monitor(saying(refusal));
  await using qmp = await Qmp.connect(env, at.path);
  await assert.rejects(qmp.execute('query-a'), { code: 'TRACK_QMP', message: /no such node/ });
});

test('nonsense, and an end, fail what waits and all that follows', async () => {
  for (const text of ['hello\n', '[1\n', '']) {
    await using at = await monitor((line) => {
      if (text === '' && line.includes('query')) throw new Error('not reached');
      return saying(text)(line);
    });
    const qmp = await Qmp.connect(env, at.path);
    if (text === '') {
      await qmp[Symbol.asyncDispose]();
    } else {
      await assert.rejects(qmp.execute('query-a'), { code: 'TRACK_QMP', message: /not JSON/ });
    }
    await assert.rejects(qmp.execute('query-b'), { code: 'TRACK_QMP' });
    await qmp[Symbol.asyncDispose]();
  }
});
