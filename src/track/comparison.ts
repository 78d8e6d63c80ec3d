/** The sources that always answer: everything is read, and compared with the snapshot or not. */
import { type ChangeSource, cannotSay } from './change-source.ts';

async function nothing(): Promise<void> {}

/** Every block is read and compared with the snapshot's manifest. */
export function checksumSource(): ChangeSource {
  return {
    name: 'checksum',
    async changes({ since }) {
      if (since === undefined) return cannotSay('checksum', 'first', 'there is no snapshot yet');
      return {
        kind: 'everything',
        source: 'checksum',
        compare: true,
        reason: `every block compared with ${since.volume}@${since.id.slice(0, 8)}`,
        finish: nothing,
      };
    },
  };
}

/** Every block is read, as if there were no snapshot; what the repository has is not sent again. */
export function fullSource(): ChangeSource {
  return {
    name: 'full',
    async changes({ since }) {
      const reason = since === undefined ? 'first backup: everything read' : 'everything read';
      return { kind: 'everything', source: 'full', compare: false, reason, finish: nothing };
    },
  };
}
