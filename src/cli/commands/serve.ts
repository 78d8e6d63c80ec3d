/** `ferry serve`: the provider. */
import { codecPool } from '../../codec/index.ts';
import { FerryError, messageOf } from '../../core/index.ts';
import { ReplicaServer } from '../../service/index.ts';
import { backup } from '../../transfer/backup/index.ts';
import type { MakeSnapshot, ProviderEvent } from '../../transfer/replicate/index.ts';
import type { Context } from '../context.ts';
import { nodeOf } from '../node.ts';
import type { Output } from '../output.ts';
import { providerUri } from '../provider-address.ts';
import { repositoryOf, snapshotFields, snapshotName, stateFolder } from '../repository.ts';
import { formatSize } from '../sizes.ts';
import type { Run } from '../spec.ts';
import { stopped } from '../stopped.ts';
import type { serveSpec } from '../table/replication.ts';

export const run: Run<typeof serveSpec> = async (context: Context, values) => {
  const { env, output, signal } = context;
  const { listen, lane, quota, volumes } = values;
  const node = await nodeOf(context);
  await using pool = codecPool(env, env.workers.parallelism);
  await using repository = await repositoryOf(context);
  const folder = stateFolder(context, `replicas/${repository.superblock.repositoryId}`);
  await folder.makeDirectory();
  const makeSnapshot: MakeSnapshot = async (device, since, { volume, origin }) => {
    const how = since === undefined ? { compare: false } : { since };
    const request = { volume, origin, changeSource: 'replica', pool, ...how };
    return (await backup(env, repository, device, request)).snapshot;
  };
  await using server = await ReplicaServer.start(env, {
    ...{ ...node, repository, makeSnapshot, lane, directory: folder.directory, address: listen },
    quota: { volumesMax: volumes, ...(quota !== undefined && { logicalBytesMax: quota }) },
    onEvent: (event) => tell(output, event),
    onRefused: (error, peer) => output.detail(`${peer} was not let in: ${messageOf(error)}`),
    onPaired(name) {
      output.status({ state: 'paired', name }, `paired with ${name}`);
      invite();
    },
  });
  const { address } = server;
  if (address.kind !== 'tcp') return;
  const uri = providerUri(address);
  const invite = () => {
    const token = server.invite();
    const line = `ferry pair ${uri} ${token}`;
    output.item('status', { state: 'invitation', uri, token }, `to pair another agent: ${line}`);
  };
  const token = server.invite();
  output.item(
    'status',
    { state: 'ready', uri, token, repository: repository.objects.name },
    `ready: ${uri}\n  to pair an agent, run there: ferry pair ${uri} ${token}\n  Ctrl-C stops`,
  );
  output.setState(() => ({
    fields: { state: 'serving', uri, sessions: server.sessionCount },
    text: `serving ${uri}, ${server.sessionCount} sessions`,
  }));
  await stopped(signal);
  output.summary({ state: 'stopped', uri }, `${uri} is served no longer`);
};

function tell(output: Output, event: ProviderEvent): void {
  if (event.event === 'snapshot') {
    const { snapshot } = event;
    const size = formatSize(snapshot.changedBytes);
    const text = `${snapshotName(snapshot)}: a snapshot, ${size} changed`;
    output.status({ state: 'snapshot', ...snapshotFields(snapshot) }, text);
  } else if (event.event === 'failed') {
    const { volume, error } = event;
    const code = error instanceof FerryError ? error.code : 'INTERNAL';
    output.warn(`${volume ?? 'a session'}: ${messageOf(error)} (${code})`);
  } else if (event.event === 'opened') {
    const { volume, agent } = event;
    output.detail(`${agent.slice(0, 16)} has opened ${volume}`);
  } else output.detail(`${event.volume} is at epoch ${event.epoch}`);
}
