/** Two unix sockets that are connected to each other: one for Node, one to hand on. */
import { Socket } from 'node:net';
import type { SocketPair } from '../kernel.ts';
import { failureName, linuxCalls } from './linux-calls.ts';
import { posixError } from './posix-error.ts';
import { socketOptions, streamOf } from './stream.ts';

export function openSocketPair(peer: string): SocketPair {
  const numbers = new Int32Array(2);
  const answer = linuxCalls().socketPair(numbers);
  if (answer < 0) throw posixError(failureName(answer), 'make', 'a pair of sockets');
  const [fd, descriptor] = numbers as unknown as [number, number];
  const socket = new Socket({ ...socketOptions, fd, readable: true, writable: true });
  return { stream: streamOf(socket, peer), descriptor };
}
