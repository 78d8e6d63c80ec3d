/** Parents: what patches stand on, read from the present epoch, or from the one on its way. */
import type { Env, Gate } from '../../../core/index.ts';
import type { BlockData, Place } from '../../../wire/index.ts';
import type { Attempt } from './attempt.ts';
import type { Layers } from './layers.ts';
import type { Piece } from './pieces.ts';
import { makingGate, type Proven, prove } from './sections.ts';
import { View } from './view.ts';

/** Of a message, once what it stands on is here. `signal`: nothing more of its epoch will come. */
export async function proveFor(
  layers: Layers,
  attempt: Attempt,
  data: BlockData,
  signal?: AbortSignal,
): Promise<Proven> {
  const { clock } = layers.env;
  const pieceAt = (place: Place) => attempt.pieceAt(place, clock, signal);
  for (const { places = [] } of data.entries) {
    for (const place of places) if (place.isNew) await pieceAt(place);
  }
  const parentOf = async (place: Place) =>
    place.isNew
      ? await contentOf(layers, await pieceAt(place))
      : await presentBytes(layers, place.offsetBytes, place.lengthBytes);
  return await prove(data, parentOf, makingIn(layers.env));
}

const gates = new WeakMap<Env, Gate>();

/** One for all replicas of a process: its memory is what is bounded. */
function makingIn(env: Env): Gate {
  let gate = gates.get(env);
  if (gate === undefined) {
    gate = makingGate();
    gates.set(env, gate);
  }
  return gate;
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
