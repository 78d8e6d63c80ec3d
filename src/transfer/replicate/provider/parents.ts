/** Parents: what patches stand on, read from the present epoch, or from the one on its way. */
import type { Place } from '../../../wire/index.ts';
import type { Attempt } from './attempt.ts';
import type { Layers } from './layers.ts';
import type { Piece } from './pieces.ts';
import { View } from './view.ts';

export type ParentOf = (place: Place) => Promise<Uint8Array>;

/** `signal`: nothing more of the epoch will come. */
export function parentsIn(layers: Layers, attempt: Attempt, signal?: AbortSignal): ParentOf {
  const { clock } = layers.env;
  return async (place) => {
    if (!place.isNew) return await presentBytes(layers, place.offsetBytes, place.lengthBytes);
    return await contentOf(layers, await attempt.pieceAt(place, clock, signal));
  };
}

/** Of the present epoch; zeroes behind its end, where a later one may have more. */
export async function presentBytes(
  layers: Layers,
  offsetBytes: number,
  lengthBytes: number,
): Promise<Uint8Array> {
  using view = layers.view();
  const bytes = new Uint8Array(lengthBytes);
  const thereBytes = Math.min(lengthBytes, view.device.sizeBytes - offsetBytes);
  if (thereBytes > 0) await view.device.read(bytes.subarray(0, thereBytes), offsetBytes);
  return bytes;
}

async function contentOf({ sections, contents }: Layers, piece: Piece): Promise<Uint8Array> {
  const { content, offsetBytes, lengthBytes } = piece;
  // A record can be read once it is written.
  if (content.kind === 'section') await content.journal.durable();
  const view = new View({
    ...{ name: 'epoch on its way', sizeBytes: offsetBytes + lengthBytes, base: undefined },
    ...{ pieces: [piece], sections, chunks: contents.chunks },
  });
  const bytes = new Uint8Array(lengthBytes);
  await view.read(bytes, offsetBytes);
  return bytes;
}
