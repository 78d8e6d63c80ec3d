/** BLOCK_STATUS: asks each selected context and writes one chunk for each. */

import { FLAG_REQ_ONE } from './constants.ts';
import type { MetaContext, StatusExtent } from './exports.ts';
import { STATUS_EXTENTS_MAX } from './limits.ts';
import {
  putStatusExtent,
  putStatusHeader,
  STATUS_HEADER_BYTES,
  STYLE_EXTENDED,
  statusExtentBytes,
} from './reply-codec.ts';
import type { Request } from './request-codec.ts';

export type SelectedContext = { readonly id: number; readonly context: MetaContext };

export type ContextStatus = { readonly id: number; readonly extents: readonly StatusExtent[] };

export async function queryStatuses(
  contexts: readonly SelectedContext[],
  request: Request,
): Promise<ContextStatus[]> {
  const { lengthBytes, offsetBytes, flags } = request;
  const limit = (flags & FLAG_REQ_ONE) !== 0 ? 1 : STATUS_EXTENTS_MAX;
  const statuses: ContextStatus[] = [];
  for (const { id, context } of contexts) {
    const extents = await context.status(lengthBytes, offsetBytes, limit);
    statuses.push({ id, extents: merged(extents, lengthBytes, limit) });
  }
  return statuses;
}

/** Neighbours of equal status become one; what a context says beyond the request is cut off. */
function merged(
  extents: readonly StatusExtent[],
  lengthBytes: number,
  limit: number,
): StatusExtent[] {
  const result: { lengthBytes: number; flags: number }[] = [];
  let leftBytes = lengthBytes;
  for (const extent of extents) {
    const partBytes = Math.min(extent.lengthBytes, leftBytes);
    if (partBytes <= 0) continue;
    leftBytes -= partBytes;
    const last = result[result.length - 1];
    if (last !== undefined && last.flags === extent.flags) last.lengthBytes += partBytes;
    else if (result.length === limit) break;
    else result.push({ lengthBytes: partBytes, flags: extent.flags });
  }
  if (result.length === 0) throw new Error('a context described nothing');
  return result;
}

/** What `putStatuses` writes. */
export function statusBytes(statuses: readonly ContextStatus[], style: number): number {
  const headerBytes = style === STYLE_EXTENDED ? STATUS_HEADER_BYTES : STATUS_HEADER_BYTES - 16;
  let sum = 0;
  for (const { extents } of statuses) {
    sum += headerBytes + extents.length * statusExtentBytes(style);
  }
  return sum;
}

export function putStatuses(
  bytes: Uint8Array,
  at: number,
  request: Request,
  style: number,
  statuses: readonly ContextStatus[],
): void {
  let next = at;
  statuses.forEach(({ id, extents }, index) => {
    const isLast = index === statuses.length - 1;
    const shape = { contextId: id, count: extents.length, isLast };
    next = putStatusHeader(bytes, next, request, style, shape);
    for (const extent of extents) next = putStatusExtent(bytes, next, style, extent);
  });
}
