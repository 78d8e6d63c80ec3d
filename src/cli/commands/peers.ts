/** `ferry peers`: who is known to this node; and who is no longer. */
import { toHex } from '../../core/index.ts';
import type { Peer } from '../../service/index.ts';
import type { Context } from '../context.ts';
import { nodeOf } from '../node.ts';
import { formatTime } from '../repository.ts';
import type { Run } from '../spec.ts';
import type { peersSpec } from '../table/replication.ts';
import { textTable } from '../text-table.ts';

export const run: Run<typeof peersSpec> = async (context: Context, { revoke }) => {
  const { output } = context;
  const { peers, identity } = await nodeOf(context);
  const own = toHex(identity.fingerprint);
  if (revoke !== undefined) {
    const gone = await peers.revoke(revoke);
    const names = gone.map(({ name, role }) => `${name} (${role})`).join(', ');
    output.summary({ revoked: gone.length, fingerprint: own }, `revoked: ${names}`);
    return;
  }
  const all = await peers.peers();
  for (const peer of all) if (output.options.json) output.item('peer', { ...peer }, '');
  if (all.length > 0) output.text(tableOf(all));
  const count = all.length === 1 ? '1 peer' : `${all.length} peers`;
  const text = `${count}; this node is ${own.slice(0, 16)}`;
  output.summary({ peers: all.length, fingerprint: own }, text);
};

function tableOf(peers: readonly Peer[]): string {
  const titles = ['NAME', 'ROLE', 'ADDRESS', 'FINGERPRINT', 'SINCE'].map((title) => ({ title }));
  return textTable(
    titles,
    peers.map(({ name, role, address, fingerprint, since }) => [
      ...[name, role, address ?? '', fingerprint.slice(0, 16), formatTime(since)],
    ]),
  );
}
