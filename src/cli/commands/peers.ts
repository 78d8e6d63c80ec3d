/** `ferry peers`: who is known to this node, what they may do; and who is no longer known. */
import { toHex } from '../../core/index.ts';
import { type Grant, type Peer, TENANT_NAME } from '../../service/index.ts';
import { apiSockets, ask } from '../api-client.ts';
import type { Context } from '../context.ts';
import { usageError } from '../errors.ts';
import { nodeOf } from '../node.ts';
import { formatTime } from '../repository.ts';
import { formatRate, formatSize } from '../sizes.ts';
import type { Run, Values } from '../spec.ts';
import { socketsOf } from '../state-directory.ts';
import type { peersSpec } from '../table/provider.ts';
import { textTable } from '../text-table.ts';
import { checkedWindow } from '../window.ts';

type PeersValues = Values<typeof peersSpec>;

export const run: Run<typeof peersSpec> = async (context: Context, values) => {
  const { output } = context;
  const { peer, revoke, invite } = values;
  const change = changeOf(values);
  checkTogether(values, Object.keys(change).length > 0);
  const { peers, identity } = await nodeOf(context);
  const own = toHex(identity.fingerprint);
  if (invite) return await inviteAgent(context, values);
  if (revoke !== undefined) {
    const gone = await peers.revoke(values.vouched ? await peers.expect(revoke) : revoke);
    const names = gone.map(({ name, role }) => `${name} (${role})`).join(', ');
    output.summary({ revoked: gone.length, fingerprint: own }, `revoked: ${names}`);
    return;
  }
  if (peer !== undefined) {
    const which = values.vouched ? await peers.expect(peer) : peer;
    const changed = await peers.grant(which, (before) => without({ ...before, ...change }));
    const text = `${changed.name} may ${grantText(changed.grant ?? {})}`;
    output.summary({ ...changed }, text);
    return;
  }
  const all = await peers.peers();
  for (const one of all) if (output.options.json) output.item('peer', { ...one }, '');
  if (all.length > 0) output.text(tableOf(all));
  const count = all.length === 1 ? '1 peer' : `${all.length} peers`;
  const text = `${count}; this node is ${own.slice(0, 16)}`;
  output.summary({ peers: all.length, fingerprint: own }, text);
};

/** Nothing that was written goes unheard. */
function checkTogether(values: PeersValues, hasChange: boolean): void {
  const { peer, revoke, invite, vouched } = values;
  const refuse = (why: string) => {
    throw usageError(why, 'ferry peers');
  };
  if (invite && (peer !== undefined || revoke !== undefined || vouched)) {
    refuse('--invite is for an agent that has no name here yet');
  }
  if (invite) return;
  if (revoke !== undefined && (peer !== undefined || hasChange)) {
    refuse('--revoke takes one name, and nothing to change');
  }
  if (revoke !== undefined || peer !== undefined) return;
  if (hasChange) refuse('whose rights? name an agent');
  if (vouched) refuse('--vouched: name the agent');
}

/** Another token, from the provider that runs here. */
async function inviteAgent(context: Context, { tenant }: PeersValues): Promise<void> {
  const { env, output, settings } = context;
  const directory = socketsOf(settings);
  const [path = `${directory}/serve.sock`] = await apiSockets(env.files, directory);
  const body = tenant === undefined ? {} : { tenant };
  const asked = { method: 'POST', path: '/v1/invitations', body } as const;
  const { uri, token } = await ask<Invited>({ kind: 'unix', path }, asked);
  output.item('invitation', { uri, token }, `ferry pair ${uri} ${token}`);
  output.summary({ uri, token }, '');
}

type Invited = { readonly uri: string; readonly token: string };
type Change = { readonly [Key in keyof Grant]: Grant[Key] | undefined };

/** Undefined where what was granted is taken back. */
function changeOf(values: PeersValues): Change {
  const { rights, volumes, tenant, window } = values;
  const given = <Key extends keyof Grant>(
    key: Key,
    written: string | number | undefined,
    read: () => Grant[Key],
  ) => (written === undefined ? {} : { [key]: written === 'default' ? undefined : read() });
  const number = (key: keyof Grant, written: number | 'default' | undefined) =>
    given(key, written, () => written as never);
  return {
    ...given('rights', rights, () => rightsOf(rights!)),
    ...given('volumes', volumes, () => volumes!.split(',')),
    ...given('tenant', tenant, () => tenantOf(tenant!)),
    ...given('window', window, () => checkedWindow(window!, 'ferry peers')),
    ...number('volumesMax', values.maxVolumes),
    ...number('logicalBytesMax', values.quota),
    ...number('storedBytesMax', values.quotaStored),
    ...number('bytesPerS', values.rate),
  };
}

function rightsOf(written: string): ('read' | 'write')[] {
  if (written === 'none') return [];
  return written.split(',').map((right) => {
    if (right === 'read' || right === 'write') return right;
    throw usageError(`--rights: '${right}' is neither read nor write`, 'ferry peers');
  });
}

function tenantOf(written: string): string {
  if (TENANT_NAME.test(written)) return written;
  throw usageError(`--tenant: '${written}' names no tenant`, 'ferry peers');
}

function without(change: Change): Grant {
  return Object.fromEntries(Object.entries(change).filter(([, value]) => value !== undefined));
}

function tableOf(peers: readonly Peer[]): string {
  const titles = ['NAME', 'ROLE', 'ADDRESS', 'FINGERPRINT', 'SINCE', 'MAY'];
  return textTable(
    titles.map((title) => ({ title })),
    peers.map(({ name, role, address, fingerprint, since, grant, isRevoked, isVouchedFor }) => [
      ...[name, isVouchedFor ? `${role}, vouched` : role, address ?? ''],
      ...[fingerprint.slice(0, 16), formatTime(since)],
      isRevoked ? 'revoked' : role === 'agent' ? grantText(grant ?? {}) : '',
    ]),
  );
}

function grantText({ rights = ['read', 'write'], volumes, tenant, window, ...bounds }: Grant) {
  const { volumesMax, logicalBytesMax, storedBytesMax, bytesPerS } = bounds;
  const parts = [rights.length === 0 ? 'do nothing' : rights.join(', ')];
  if (volumes !== undefined) parts.push(`as ${volumes.join(', ')}`);
  if (tenant !== undefined) parts.push(`of ${tenant}`);
  if (volumesMax !== undefined) parts.push(`${volumesMax} volumes`);
  if (logicalBytesMax !== undefined) parts.push(`${formatSize(logicalBytesMax)} in them`);
  if (storedBytesMax !== undefined) parts.push(`${formatSize(storedBytesMax)} stored`);
  if (bytesPerS !== undefined) parts.push(formatRate(bytesPerS));
  if (window !== undefined) parts.push(window);
  return parts.join('; ');
}
