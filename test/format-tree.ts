/** Manifest nodes for the reader made from docs/format.md. */
import assert from 'node:assert/strict';
import { type Cursor, hex } from './format-bytes.ts';

export type Piece = { kind: number; length: number; id?: Buffer };

export type Node = {
  inner: boolean;
  digest: Buffer | undefined;
  pieces: Piece[];
  children: ChildOf[];
};

export type ChildOf = { record: string; ordinal: number; digest?: Buffer } | undefined;

/** Takes a tree record's next value, a node's digest or the id of a record. */
export type NextValue = (isDigest: boolean) => Buffer;

/** Where other tree records are found, and what of the format was met. */
export type Trees = { readonly met: Set<string>; tree(id: string): Node[] };

/** The nodes of one record, bases applied. */
export function nodesOf(id: string, cursor: Cursor, next: NextValue, from: Trees): Node[] {
  assert.equal(cursor.u8(), 1);
  const sourceCount = cursor.varint();
  const nodeCount = cursor.varint();
  const sources = Array.from({ length: sourceCount }, () => hex(next(false)));
  const nodes: Node[] = [];
  for (let own = 0; own < nodeCount; own++) {
    const tag = cursor.u8();
    const inner = (tag & 1) !== 0;
    let base: Node | undefined;
    if ((tag & 2) !== 0) {
      const source = cursor.varint();
      const ordinal = cursor.varint();
      from.met.add(`${inner ? 'inner' : 'leaf'} with a base`);
      base = source === 0 ? nodes[ordinal]! : from.tree(sources[source - 1]!)[ordinal]!;
    }
    const digest = (tag & 4) !== 0 ? next(true) : undefined;
    if (digest !== undefined) from.met.add('digest');
    if (inner) from.met.add('inner');
    const node: Node = { inner, digest, pieces: [], children: [] };
    let kept = 0;
    const editCount = base === undefined ? 1 : cursor.varint();
    for (let edit = 0; edit < editCount; edit++) {
      const skip = base === undefined ? 0 : cursor.varint();
      const drop = base === undefined ? 0 : cursor.varint();
      node.pieces.push(...(base?.pieces.slice(kept, kept + skip) ?? []));
      node.children.push(...(base?.children.slice(kept, kept + skip) ?? []));
      kept += skip + drop;
      for (let runs = cursor.varint(); runs > 0; runs--) {
        if (inner) node.children.push(...childRun(cursor, next, id, sources));
        else node.pieces.push(...pieceRun(cursor, next));
      }
    }
    node.pieces.push(...(base?.pieces.slice(kept) ?? []));
    node.children.push(...(base?.children.slice(kept) ?? []));
    nodes.push(node);
  }
  assert.equal(cursor.left, 0);
  return nodes;
}

function pieceRun(cursor: Cursor, next: NextValue): Piece[] {
  const kind = cursor.u8();
  const length = cursor.varint();
  return Array.from({ length: cursor.varint() }, (): Piece => {
    return kind === 3 ? { kind, length, id: next(false) } : { kind, length };
  });
}

function childRun(cursor: Cursor, next: NextValue, own: string, sources: string[]): ChildOf[] {
  const count = cursor.varint();
  const code = cursor.varint();
  if (code === 0) return new Array<ChildOf>(count).fill(undefined);
  const first = cursor.varint();
  const record = code === 1 ? own : sources[code - 2]!;
  return Array.from({ length: count }, (_, at): ChildOf => {
    const ordinal = first + at;
    return code === 1 ? { record, ordinal } : { record, ordinal, digest: next(true) };
  });
}
