/** The group of an epoch: volumes that are cut at one moment, and committed together. */
import { GROUP_MEMBERS_MAX } from './limits.ts';

export type EpochGroup = {
  readonly name: string;
  /** All of them, this one included, ascending. */
  readonly members: readonly string[];
};

/** Longer than any name of a volume. */
const MEMBER_CHARACTERS_MAX = 255;

/** It is a part of the tags of snapshots: one word. */
const GROUP_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

export function isGroupName(name: string): boolean {
  return GROUP_NAME.test(name);
}

export function isEpochGroup(value: unknown): value is EpochGroup {
  const { name, members } = (value ?? {}) as Record<string, unknown>;
  return (
    typeof name === 'string' &&
    isGroupName(name) &&
    Array.isArray(members) &&
    members.length <= GROUP_MEMBERS_MAX &&
    members.every((one) => typeof one === 'string' && one.length <= MEMBER_CHARACTERS_MAX) &&
    // Named twice, it would wait for itself whenever all of them are taken at once.
    members.every((one, at) => at === 0 || members[at - 1] < one)
  );
}
