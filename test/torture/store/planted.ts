/**
 * Defects on purpose, each a change of the product's text while it is loaded, so that nothing of
 * them is ever shipped. The trial that is named must find each of them. What two measures prevent,
 * each alone, is planted as a pair: a writer that looks again and a fresh mark, for example.
 */
import type { TrialName } from './trials.suite.ts';

/** `find` stands exactly once in the file. */
export type Edit = { readonly file: string; readonly find: string; readonly put: string };

export type Planted = {
  readonly name: string;
  readonly by: TrialName;
  /** Trials begin with this seed: at the time of writing one soon after it finds the defect. */
  readonly seed?: number;
  readonly edits: readonly Edit[];
};

const writer = 'src/objects/directory-writer.ts';
const folders = 'src/objects/folders.ts';
const session = 'src/store/backup-session.ts';
const reliance = 'src/store/reliance.ts';
const gc = 'src/store/gc.ts';
const index = 'src/store/chunk-index.ts';
const builder = 'src/store/frame-builder.ts';
const adoption = 'src/store/adoption.ts';

export const plantedDefects: readonly Planted[] = [
  {
    name: 'skips the sync of a file',
    by: 'torn',
    edits: [{ file: writer, find: 'await file.sync();', put: '' }],
  },
  {
    name: 'skips the sync of a directory',
    by: 'torn',
    edits: [{ file: writer, find: 'await folders.force(folder);', put: '' }],
  },
  {
    name: 'skips the sync of a new directory in its parent',
    by: 'torn',
    edits: [{ file: folders, find: 'await this.#sync(this.path(parent));', put: '' }],
  },
  {
    name: 'tries a failed sync of a file again',
    by: 'torn',
    seed: 16,
    edits: [{ file: writer, find: 'file.sync();', put: 'file.sync().catch(() => file.sync());' }],
  },
  {
    name: 'overwrites an object that another writer made',
    by: 'torn',
    seed: 4,
    edits: [{ file: writer, find: 'files.link(from, to);', put: 'files.rename(from, to);' }],
  },
  {
    name: 'takes up a pack that its writer did not come to force',
    by: 'torn',
    seed: 250,
    edits: [
      {
        file: adoption,
        find: '!(await settled(objects, state, pack))',
        put: 'settled.length === 0',
      },
    ],
  },
  {
    name: 'commits before the packs are durable',
    by: 'torn',
    edits: [
      {
        file: builder,
        find: 'await this.#closePack();\n    await this.#tail;',
        put: 'await this.#closePack();',
      },
    ],
  },
  {
    name: 'names a pack nowhere before it is there',
    by: 'torn',
    edits: [{ file: builder, find: 'await this.#options.announce(pack.writer.id);', put: '' }],
  },
  {
    name: 'takes another writer’s entry for its own',
    by: 'torn',
    seed: 8,
    edits: [
      {
        file: 'src/store/log.ts',
        find: 'return found.nonce === nonce ? found : undefined;',
        put: 'return found;',
      },
    ],
  },
  {
    name: 'believes in an entry whose put failed',
    by: 'faults',
    seed: 19,
    edits: [
      {
        file: 'src/store/log.ts',
        find: "throw hasCode(again, 'OBJECT_EXISTS') ? again : error;",
        put: "if (hasCode(again, 'OBJECT_EXISTS')) throw again;",
      },
    ],
  },
  {
    name: 'goes on after a frame could not be written',
    by: 'faults',
    seed: 2,
    edits: [{ file: builder, find: 'this.#failure ??= error;', put: 'void error;' }],
  },
  {
    name: 'ignores a fence',
    by: 'suspended',
    seed: 71,
    edits: [{ file: reliance, find: 'if (fenced || packs.some', put: 'if (false && packs.some' }],
  },
  {
    name: 'skips the check of the generation, and drops condemned packs without a fresh mark',
    by: 'suspended',
    seed: 41,
    edits: [
      { file: session, find: 'if (state.generation === this.#generation) return;', put: 'return;' },
      { file: gc, find: 'await verifier.check(state, []);', put: '' },
    ],
  },
  {
    name: 'relies on condemned packs, and drops them without a fresh mark',
    by: 'suspended',
    seed: 41,
    edits: [
      {
        file: reliance,
        find: 'onCondemned: (found) => condemned.push(found),',
        put: 'onCondemned: () => undefined,',
      },
      { file: gc, find: 'await verifier.check(state, []);', put: '' },
    ],
  },
  {
    name: 'removes packs before the log says so',
    by: 'faults',
    seed: 20,
    edits: [
      {
        file: gc,
        find: 'const index = await indexWithout(',
        put: 'await this.removeObjects(dropped.map(packKey)); const index = await indexWithout(',
      },
    ],
  },
  {
    name: 'does not mark what patches stand on',
    by: 'faults',
    seed: 25,
    edits: [
      {
        file: 'src/store/gc-reach.ts',
        find: 'return this.#parents(location);',
        put: 'return undefined;',
      },
    ],
  },
  {
    name: 'forgets how deep a patch is when it is copied',
    by: 'faults',
    seed: 47,
    edits: [
      {
        file: 'src/store/gc-repack.ts',
        find: 'writer.table.depths[place] = depth;',
        put: 'writer.table.depths[place] = 0;',
      },
    ],
  },
  {
    name: 'calls a patch that it makes of a whole chunk whole',
    by: 'torn',
    edits: [
      {
        file: 'src/store/gc-repack.ts',
        find: '{ input, from: table, ordinal, depth: 1, touched }',
        put: '{ input, from: table, ordinal, depth: 0, touched }',
      },
    ],
  },
  {
    name: 'forgets the packs that it took up',
    by: 'torn',
    seed: 49,
    edits: [{ file: session, find: 'await session.addAll(adopted.packs);', put: '' }],
  },
  {
    name: 'compares only the first bytes of a hash',
    by: 'torn',
    edits: [
      {
        file: index,
        find: 'equalBytes(table.id(ordinal), id),',
        put: 'equalBytes(table.id(ordinal).subarray(0, 1), id.subarray(0, 1)),',
      },
    ],
  },
  {
    name: 'accepts a parent of equal depth',
    by: 'mutual',
    edits: [
      {
        file: index,
        find: 'table.depths[ordinal]! >= depthBelow',
        put: 'table.depths[ordinal]! > depthBelow',
      },
    ],
  },
  {
    name: 'restores what its hash does not fit',
    by: 'damage',
    edits: [
      {
        file: 'src/codec/jobs.ts',
        find: 'if (both ? matches(bytes, id, plan.checksums[step]!) : hasId(bytes, id)) return;',
        put: 'void [both, matches, hasId];\n  if (id.byteLength > 0) return;',
      },
      {
        file: 'src/codec/frame.ts',
        find: 'if (!isSound && crc32(bytes.subarray(CHECKED_AT)) !== checksum)',
        put: 'if (!isSound && crc32(bytes.subarray(CHECKED_AT)) !== checksum && !bytes)',
      },
    ],
  },
  {
    name: 'lets what was there shine through holes',
    by: 'faults',
    edits: [
      {
        file: 'src/transfer/backup/restore.ts',
        find: 'if (!this.#options.blank) await',
        put: 'if (!this.#options) await',
      },
    ],
  },
  {
    name: 'checks no pack header',
    by: 'damage',
    edits: [
      { file: 'src/store/check-packs.ts', find: 'checkPackHeader(header, packId);', put: '' },
    ],
  },
  {
    name: 'does not check the checksum of small objects',
    by: 'damage',
    edits: [
      {
        file: 'src/store/envelope.ts',
        find: 'if (reader.u32() !== crc32(bytes.subarray(0, end)))',
        put: 'if (reader.u32() !== crc32(bytes.subarray(0, end)) && !bytes)',
      },
    ],
  },
];
