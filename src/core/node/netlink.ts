/** A generic netlink socket that never waits. */
import fs from 'node:fs';
import type { Netlink } from '../kernel.ts';
import {
  DOMAIN_NETLINK,
  DONT_WAIT,
  failureName,
  linuxCalls,
  SOCKET_RAW_CLOSED_ON_EXEC,
} from './linux-calls.ts';
import { posixError } from './posix-error.ts';

const NETLINK_GENERIC = 16;
const LEVEL_NETLINK = 270;
const ADD_MEMBERSHIP = 1;
const LEVEL_SOCKET = 1;
const RECEIVE_TIMEOUT = 20;
/** The kernel's own messages fit a page; it never sends more than 32 KiB at once. */
const MESSAGE_BYTES_MAX = 32 * 1024;

export function openNetlink(): Netlink {
  const calls = linuxCalls();
  const check = (answer: number, verb: string): number => {
    if (answer >= 0) return answer;
    throw posixError(failureName(answer), verb, 'generic netlink');
  };
  const fd = check(
    calls.socket(DOMAIN_NETLINK, SOCKET_RAW_CLOSED_ON_EXEC, NETLINK_GENERIC),
    'open',
  );
  let isOpen = true;
  const close = () => {
    if (isOpen) fs.closeSync(fd);
    isOpen = false;
  };
  const address = new Uint8Array(12); // sockaddr_nl: the kernel chooses the port.
  address[0] = DOMAIN_NETLINK;
  const second = new Uint8Array(16); // A timeval: one second, no microseconds.
  second[0] = 1;
  try {
    check(calls.bind(fd, address), 'bind');
    check(calls.setOption(fd, LEVEL_SOCKET, RECEIVE_TIMEOUT, second), 'limit');
  } catch (error) {
    close();
    throw error;
  }
  const target = new Uint8Array(MESSAGE_BYTES_MAX);
  return {
    send: (message) => void check(calls.send(fd, message), 'send to'),
    receive() {
      const answer = calls.receive(fd, target, DONT_WAIT);
      const name = answer < 0 ? failureName(answer) : '';
      if (name === 'EAGAIN' || name === 'EINTR' || name === 'ENOBUFS') return undefined;
      return target.slice(0, check(answer, 'receive from'));
    },
    async receiveSoon() {
      if (!isOpen) return undefined;
      const own = new Uint8Array(MESSAGE_BYTES_MAX); // Two may wait at once.
      const bytes = await calls.receiveLater(fd, own);
      return bytes > 0 ? own.subarray(0, bytes) : undefined;
    },
    join(group) {
      const number = new Uint8Array(Int32Array.of(group).buffer);
      check(calls.setOption(fd, LEVEL_NETLINK, ADD_MEMBERSHIP, number), 'join a group of');
    },
    close,
  };
}
