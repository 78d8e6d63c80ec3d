/**
 * Packs of encrypted repositories: frames and the secret part of the table are sealed under the
 * pack's own key; what a host needs to check, copy and drop packs stays in clear beside it.
 */
import {
  clearPart,
  encodeFrame,
  FRAME_SEAL_AT,
  FRAME_SEAL_BYTES,
  openFrame,
  type PackKey,
  parseFrame,
  type Signing,
  sealFrame,
  signer,
} from '../codec/index.ts';
import { FormatError, fromHex, SHA256_BYTES, sha256 } from '../core/index.ts';
import { packKeyOf, type RepositoryKeys } from './crypto-keys.ts';
import { decodeSealedTable, encodeSealedTable } from './crypto-table.ts';
import { noPassword } from './errors.ts';
import { PACK_ID_BYTES } from './limits.ts';
import { FRAME_OVERHEAD_BYTES, hasTreeSignatures, onlyRecord, type PackSeal } from './pack-seal.ts';
import { digestValues, packTreeRecord, type TreeRecord, unpackTreeRecord } from './tree-record.ts';

export type PackSignings = { readonly chunkSigning: Signing; readonly treeSigning: Signing };

export function sealedPack(
  keys: RepositoryKeys,
  id: string,
  { chunkSigning, treeSigning }: PackSignings,
): PackSeal {
  const packId = fromHex(id, PACK_ID_BYTES)!;
  const pack: PackKey = { packId, key: packKeyOf(keys, packId) };
  const seal: PackSeal = {
    place: (number) => ({ pack, number }),
    signing: chunkSigning,
    signer: signer(chunkSigning),
    parseFrame: (bytes, number) => parseFrame(openFrame(bytes, { pack, number }).secret),
    openFrame: (bytes, number) => openFrame(bytes, { pack, number }).secret,
    sealFrame(plain, number) {
      const bytes = new Uint8Array(plain.byteLength + FRAME_SEAL_BYTES);
      bytes.set(plain, FRAME_SEAL_AT);
      sealFrame(bytes, { clearBytes: 0, secretBytes: plain.byteLength }, { pack, number });
      return { bytes, hash: sha256(bytes) };
    },
    encodeTree(record, ordinalOf, compression, number) {
      const { shown, digests } = withoutDigests(record);
      const stored = packTreeRecord(shown, ordinalOf);
      const room = stored.byteLength + FRAME_OVERHEAD_BYTES + digests.byteLength + FRAME_SEAL_BYTES;
      const target = new Uint8Array(room);
      const inputs = [{ kind: 'plain', bytes: stored }] as const;
      const clearBytes = encodeFrame(inputs, compression, target.subarray(FRAME_SEAL_AT));
      target.set(digests, FRAME_SEAL_AT + clearBytes);
      const lengths = { clearBytes, secretBytes: digests.byteLength };
      const bytes = target.subarray(0, sealFrame(target, lengths, { pack, number }));
      return { bytes, rawBytes: stored.byteLength, hash: sha256(bytes) };
    },
    decodeTree(bytes, number, table) {
      const { clear, secret } = openFrame(bytes, { pack, number });
      return withDigests(unpackTreeRecord(onlyRecord(clear), table), secret);
    },
    isGenuineTree: (record, treeId, checksum) =>
      hasTreeSignatures(record, treeSigning, treeId, checksum),
    encodeTable: (table, dataBytes) => encodeSealedTable(table, dataBytes, pack),
    decodeTable: (stored, rawBytes, dataBytes) =>
      decodeSealedTable(stored, { rawBytes, dataBytes, pack, seal }),
  };
  return seal;
}

/** Without a key: structure can be read, content cannot, and nothing proves that it is genuine. */
export function blindPack(id: string): PackSeal {
  const refuse = (): never => {
    throw noPassword(`reading the content of pack ${id.slice(0, 16)}`);
  };
  const seal: PackSeal = {
    place: refuse,
    signing: undefined,
    signer: { idOf: refuse, sign: refuse, checksumOf: refuse, hasId: refuse, matches: refuse },
    parseFrame: refuse,
    openFrame: refuse,
    sealFrame: refuse,
    encodeTree: refuse,
    decodeTree: (bytes, _frame, table) =>
      withDigests(unpackTreeRecord(onlyRecord(clearPart(bytes)), table), undefined),
    isGenuineTree: () => true,
    encodeTable: refuse,
    decodeTable: (stored, rawBytes, dataBytes) =>
      decodeSealedTable(stored, { rawBytes, dataBytes, pack: undefined, seal }),
  };
  return seal;
}

/** What a host may see of a record: all but the digests of nodes, which tell their content. */
function withoutDigests({ structure, values }: TreeRecord): {
  shown: TreeRecord;
  digests: Uint8Array;
} {
  const flags = digestValues(structure);
  const parts: [Uint8Array[], Uint8Array[]] = [[], []];
  for (const [at, flag] of flags.entries()) {
    parts[flag ? 1 : 0].push(values.subarray(at * SHA256_BYTES, (at + 1) * SHA256_BYTES));
  }
  const [ids, digests] = parts.map((list) => new Uint8Array(Buffer.concat(list)));
  return { shown: { structure, values: ids! }, digests: digests! };
}

/** Undoes `withoutDigests`; without digests, zeroes stand for them. */
function withDigests(
  { structure, values: ids }: TreeRecord,
  digests: Uint8Array | undefined,
): TreeRecord {
  const flags = digestValues(structure);
  const values = new Uint8Array(flags.length * SHA256_BYTES);
  let fromIds = 0;
  let fromDigests = 0;
  for (const [at, flag] of flags.entries()) {
    const to = at * SHA256_BYTES;
    if (flag === 0) {
      values.set(ids.subarray(fromIds, fromIds + SHA256_BYTES), to);
      fromIds += SHA256_BYTES;
    } else {
      if (digests !== undefined) {
        values.set(digests.subarray(fromDigests, fromDigests + SHA256_BYTES), to);
      }
      fromDigests += SHA256_BYTES;
    }
  }
  const wrong = digests !== undefined && fromDigests !== digests.byteLength;
  if (fromIds !== ids.byteLength || wrong) {
    throw new FormatError('a tree record has other values than its nodes use');
  }
  return { structure, values };
}
