/** Checks manifests: every node resolves, every chunk is in a pack, every digest is right. */
import { ExtentSet, equalBytes, fromHex } from '../core/index.ts';
import type { CheckRun } from './check.ts';
import { damagedObject, StoreError } from './errors.ts';
import { coveredBytes, treeHeight } from './geometry.ts';
import { FANOUT } from './limits.ts';
import { eachChunk } from './pieces.ts';
import { type Snapshot, treeOf } from './snapshot.ts';
import type { Child, Tree } from './tree-reader.ts';

type Digest = Uint8Array | undefined;

/** Lost ranges named per snapshot; the others are only counted. */
const RANGES_SHOWN_MAX = 10;

/** Returns how many chunks were looked up. Nodes shared by snapshots are walked once. */
export async function checkTrees(run: CheckRun): Promise<number> {
  const whole = new Set<string>();
  let chunks = 0;
  for (const snapshot of run.repository.snapshots()) {
    const name = `${snapshot.volume}@${snapshot.id.slice(0, 8)}`;
    await run.part(name, async () => {
      chunks += await checkTree(run, snapshot, name, whole);
    });
  }
  return chunks;
}

async function checkTree(
  run: CheckRun,
  snapshot: Snapshot,
  name: string,
  whole: Set<string>,
): Promise<number> {
  const { reader } = run.repository;
  const index = await run.repository.index();
  const tree = treeOf(snapshot);
  let chunks = 0;
  const lost = new ExtentSet();
  await walk(treeHeight(tree.geometry), 0, tree.root);
  if (lost.totalBytes > 0) run.note(name, lostRanges(name, lost));
  // Digests are sealed: without the key there is nothing to compare.
  if (run.repository.isBlind) return chunks;
  const digest = await reader.volumeDigest(tree);
  if (!equalBytes(digest, fromHex(snapshot.digest, 32)!)) {
    throw damagedObject(name, 'its manifest does not have the digest that the log names');
  }
  return chunks;

  async function walk(level: number, at: number, reference: Child): Promise<void> {
    if (reference === undefined) return;
    const covered = coveredBytes(tree.geometry, level, at);
    const key = `${reference.record}:${reference.ordinal}:${covered}`;
    if (whole.has(key)) return;
    const lostBefore = lost.totalBytes;
    if (level === 0) await checkLeaf(tree, at, reference);
    else await checkInner(level, at, reference);
    // What has lost something is walked again for every snapshot, so that each is named.
    if (lost.totalBytes === lostBefore) whole.add(key);
  }

  async function checkInner(level: number, at: number, reference: NonNullable<Child>) {
    const inner = await reader.children(tree, level, at, reference);
    for (const [position, child] of inner.children.entries()) {
      const below = at * FANOUT + position;
      await checkDigest(level - 1, below, child, inner.digests[position]);
      await walk(level - 1, below, child);
    }
  }

  /** A node says what its children in other records are like: is it true? */
  async function checkDigest(level: number, at: number, child: Child, claimed: Digest) {
    if (child === undefined || claimed === undefined || run.repository.isBlind) return;
    if (equalBytes(await reader.digest(tree, level, at, child), claimed)) return;
    const record = child.record.slice(0, 16);
    throw damagedObject(name, `a node names another digest for one in tree record ${record}`);
  }

  async function checkLeaf(of: Tree, at: number, reference: NonNullable<Child>): Promise<void> {
    const leaf = await reader.wholeLeaf(of, at, reference);
    const ids: { id: Uint8Array; offsetBytes: number; lengthBytes: number }[] = [];
    eachChunk(leaf, at, (offsetBytes, lengthBytes, id) =>
      ids.push({ id, offsetBytes, lengthBytes }),
    );
    for (const { id, offsetBytes, lengthBytes } of ids) {
      chunks++;
      const found = await index.find(id);
      const length = found?.table.rawBytes[found.ordinal];
      const fits = length === lengthBytes || run.repository.isBlind;
      if (found !== undefined && !fits) {
        throw damagedObject(name, `the chunk at ${offsetBytes} is not ${lengthBytes} bytes long`);
      }
      if (found !== undefined && !run.isDamaged(found)) continue;
      lost.add(offsetBytes, lengthBytes);
    }
  }
}

function lostRanges(name: string, lost: ExtentSet): StoreError {
  const shown = [...lost].slice(0, RANGES_SHOWN_MAX);
  const ranges = shown.map((extent) => `${extent.lengthBytes} at ${extent.offsetBytes}`).join(', ');
  const more = lost.count > shown.length ? ` and ${lost.count - shown.length} more ranges` : '';
  const message = `${name} has lost ${lost.totalBytes} bytes to damage: ${ranges}${more}`;
  return new StoreError('STORE_DAMAGED', message, {
    hint: 'Restore what is whole, and back the volume up again.',
  });
}
