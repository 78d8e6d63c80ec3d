/** Goal: an agent keeps what it is told, though the memory of messages is used again. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodeNeed, type Incoming, NEED, type Session } from '../../../wire/index.ts';
import { Agent } from './agent.ts';

test('an answer to an offer stays as it came when its message is done', async () => {
  const session = { send: () => true } as unknown as Session;
  const agent = await Agent.connect(async () => session);
  const offered = agent.offer(1, new Uint8Array(10 * 32));
  const body = encodeNeed({ offer: 1, count: 10, wanted: Uint8Array.of(0b101, 0b10) });
  const message: Pick<Incoming, 'type' | 'body' | 'done'> = {
    ...{ type: NEED, body },
    done: () => body.fill(0),
  };
  agent.onMessage(message as Incoming);
  const isWanted = await offered;
  const wanted = Array.from({ length: 10 }, (_, index) => isWanted(index));
  assert.deepEqual(wanted, [true, false, true, ...Array(6).fill(false), true]);
});
