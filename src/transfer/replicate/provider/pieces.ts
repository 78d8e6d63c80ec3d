/** Pieces: which range of a volume is to be found where, as lists that never change. */
import { partitionPoint } from '../../../core/index.ts';
import { OFFER_BYTES } from '../limits.ts';
import type { Journal } from './journal.ts';
import type { RecordPlace } from './journal-record.ts';

export type Piece = {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly content: Content;
  /** Where the piece begins in its content. */
  readonly skipBytes: number;
};

export type Content =
  | { readonly kind: 'zero' }
  /** The records of a journal's record, one after the other. */
  | { readonly kind: 'section'; readonly journal: Journal; readonly place: RecordPlace }
  /** A chunk of the repository. */
  | { readonly kind: 'chunk'; readonly hash: Uint8Array; readonly lengthBytes: number };

export const ZERO: Content = { kind: 'zero' };

/** `changes` over `below`, both ascending and without overlap; neither is touched. */
export function overlay(below: readonly Piece[], changes: readonly Piece[]): Piece[] {
  const result: Piece[] = [];
  let at = 0;
  /** What is left of `below[at]`, if a change has cut it. */
  let rest: Piece | undefined;
  for (const change of changes) {
    const endBytes = change.offsetBytes + change.lengthBytes;
    for (;;) {
      const piece = rest ?? below[at];
      if (piece === undefined) break;
      const pieceEnd = piece.offsetBytes + piece.lengthBytes;
      if (piece.offsetBytes >= endBytes) break;
      if (piece.offsetBytes < change.offsetBytes) {
        push(result, part(piece, piece.offsetBytes, Math.min(pieceEnd, change.offsetBytes)));
      }
      rest = undefined;
      if (pieceEnd > endBytes) {
        rest = part(piece, endBytes, pieceEnd);
        break;
      }
      at += 1;
    }
    push(result, change);
  }
  if (rest !== undefined) {
    push(result, rest);
    at += 1;
  }
  for (; at < below.length; at += 1) push(result, below[at]!);
  return result;
}

/** Ascending; undefined if two of them overlap. */
export function sorted(pieces: readonly Piece[]): Piece[] | undefined {
  const all = pieces.toSorted((a, b) => a.offsetBytes - b.offsetBytes);
  const result: Piece[] = [];
  let end = 0;
  for (const piece of all) {
    if (piece.offsetBytes < end) return undefined;
    end = piece.offsetBytes + piece.lengthBytes;
    push(result, piece);
  }
  return result;
}

/** The hash of the chunk of the repository that is all of a piece which begins there. */
export function chunkAt(pieces: readonly Piece[], offsetBytes: number): Uint8Array | undefined {
  const piece = pieces[firstBehind(pieces, offsetBytes)];
  if (piece?.offsetBytes !== offsetBytes || piece.content.kind !== 'chunk') return undefined;
  const isWhole = piece.skipBytes === 0 && piece.lengthBytes === piece.content.lengthBytes;
  return isWhole && piece.lengthBytes === OFFER_BYTES ? piece.content.hash : undefined;
}

/** The index of the first piece that ends behind `offsetBytes`. */
export function firstBehind(pieces: readonly Piece[], offsetBytes: number): number {
  return partitionPoint(pieces.length, (at) => {
    const piece = pieces[at]!;
    return piece.offsetBytes + piece.lengthBytes <= offsetBytes;
  });
}

function part(piece: Piece, from: number, to: number): Piece {
  const skipBytes = piece.skipBytes + from - piece.offsetBytes;
  return { offsetBytes: from, lengthBytes: to - from, content: piece.content, skipBytes };
}

/** Neighbours that are neighbours in their content too become one. */
function push(pieces: Piece[], piece: Piece): void {
  const last = pieces.at(-1);
  const touches = last !== undefined && last.offsetBytes + last.lengthBytes === piece.offsetBytes;
  if (touches && follows(last, piece)) {
    const lengthBytes = last.lengthBytes + piece.lengthBytes;
    pieces[pieces.length - 1] = { ...last, lengthBytes };
  } else pieces.push(piece);
}

function follows(last: Piece, { content, skipBytes }: Piece): boolean {
  if (last.content.kind === 'zero') return content.kind === 'zero';
  if (last.content.kind !== 'section' || content.kind !== 'section') return false;
  return (
    last.content.journal === content.journal &&
    last.content.place.atBytes === content.place.atBytes &&
    last.skipBytes + last.lengthBytes === skipBytes
  );
}
