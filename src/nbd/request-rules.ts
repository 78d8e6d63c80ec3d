/** What a server refuses before the device sees it, and with which number. */
import type { Device } from '../device/index.ts';
import {
  COMMAND_BLOCK_STATUS,
  COMMAND_CACHE,
  COMMAND_DISCONNECT,
  COMMAND_FLUSH,
  COMMAND_READ,
  COMMAND_TRIM,
  COMMAND_WRITE,
  COMMAND_WRITE_ZEROES,
  FLAG_DF,
  FLAG_FAST_ZERO,
  FLAG_FUA,
  FLAG_NO_HOLE,
  FLAG_PAYLOAD_LENGTH,
  FLAG_REQ_ONE,
} from './constants.ts';
import { EINVAL, ENOSPC, EOVERFLOW, EPERM } from './error-numbers.ts';
import { PAYLOAD_BYTES_MAX } from './limits.ts';
import { STYLE_EXTENDED, STYLE_SIMPLE } from './reply-codec.ts';
import type { Request } from './request-codec.ts';

/** Flags that each command may carry, by its number; FUA is harmless with all of them. */
const permittedFlags: readonly (number | undefined)[] = [];
{
  const table = permittedFlags as number[];
  table[COMMAND_READ] = FLAG_FUA | FLAG_DF;
  table[COMMAND_WRITE] = FLAG_FUA;
  table[COMMAND_DISCONNECT] = 0xffff; // Whatever it says, it leaves.
  table[COMMAND_FLUSH] = FLAG_FUA;
  table[COMMAND_TRIM] = FLAG_FUA;
  table[COMMAND_CACHE] = FLAG_FUA;
  table[COMMAND_WRITE_ZEROES] = FLAG_FUA | FLAG_NO_HOLE | FLAG_FAST_ZERO;
  table[COMMAND_BLOCK_STATUS] = FLAG_FUA | FLAG_REQ_ONE;
}

type Terms = {
  readonly style: number;
  readonly opened: { readonly readOnly: boolean };
  readonly contexts: readonly unknown[];
};

/** 0 to go on; a payload is undefined if there was none or it was too long to be taken. */
export function refusal(
  request: Request,
  payload: Uint8Array | undefined,
  device: Device,
  { style, opened, contexts }: Terms,
): number {
  const { command, flags, offsetBytes, lengthBytes } = request;
  const permitted = permittedFlags[command];
  if (permitted === undefined) return EINVAL;
  const isWrite = command === COMMAND_WRITE;
  const needed = isWrite && style === STYLE_EXTENDED ? FLAG_PAYLOAD_LENGTH : 0;
  if ((flags & ~(permitted | needed)) !== 0) return EINVAL;
  if (command === COMMAND_DISCONNECT) return 0;
  if (command === COMMAND_FLUSH) return offsetBytes === 0 && lengthBytes === 0 ? 0 : EINVAL;
  const isRead = command === COMMAND_READ;
  const changes = isChange(command);
  if (changes && opened.readOnly) return EPERM;
  if (offsetBytes + lengthBytes > device.sizeBytes) {
    return changes && command !== COMMAND_TRIM ? ENOSPC : EINVAL;
  }
  if (isRead && lengthBytes > PAYLOAD_BYTES_MAX) return EOVERFLOW;
  if (isRead && (flags & FLAG_DF) !== 0 && style === STYLE_SIMPLE) return EINVAL;
  if (isWrite && payload === undefined && lengthBytes > 0) return EINVAL;
  if (command === COMMAND_BLOCK_STATUS) {
    if (style === STYLE_SIMPLE || contexts.length === 0 || lengthBytes === 0) return EINVAL;
  }
  return 0;
}

/** Whether the command changes the device, if it is let through. */
export function isChange(command: number): boolean {
  return command === COMMAND_WRITE || command === COMMAND_TRIM || command === COMMAND_WRITE_ZEROES;
}
