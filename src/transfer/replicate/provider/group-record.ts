/** The record "ready": an epoch is whole, and waits for its group. */
import { ByteReader, ByteWriter, FormatError } from '../../../core/index.ts';
import { decodeEpochCommit, type EpochCommit, encodeEpochCommit } from '../../../wire/index.ts';
import { type EpochGroup, isEpochGroup } from '../epoch-group.ts';
import { GROUP_TEXT_BYTES_MAX } from '../limits.ts';

export type Ready = { readonly group: EpochGroup; readonly commit: EpochCommit };

/** u32 length of the text, the group as JSON, and the body of the EPOCH_COMMIT. */
export function encodeReady({ group, commit }: Ready): Uint8Array {
  const { name, members } = group;
  const text = new TextEncoder().encode(JSON.stringify({ name, members }));
  const body = encodeEpochCommit(commit);
  const writer = new ByteWriter(4 + text.byteLength + body.byteLength);
  writer.u32(text.byteLength);
  writer.put(text);
  writer.put(body);
  return writer.view();
}

/** Throws a FormatError. */
export function decodeReady(bytes: Uint8Array): Ready {
  const reader = new ByteReader(bytes);
  const textBytes = reader.u32();
  if (textBytes > GROUP_TEXT_BYTES_MAX) throw new FormatError('a group of too many names');
  const text = new TextDecoder().decode(reader.take(textBytes));
  const commit = decodeEpochCommit(bytes.subarray(reader.position));
  const group = JSON.parse(text) as unknown;
  if (!isEpochGroup(group)) throw new FormatError('a group without names');
  return { group, commit };
}
