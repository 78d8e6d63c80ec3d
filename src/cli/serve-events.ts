/** What `ferry serve` tells of what happens: to its log, and to programs that read its stdout. */
import { messageOf } from '../core/index.ts';
import { codeOf, type Log, nameOf, type ServerEvent } from '../service/index.ts';
import type { Output } from './output.ts';
import { snapshotFields, snapshotName } from './repository.ts';
import { formatSize } from './sizes.ts';

export function tellEvent(output: Output, log: Log, event: ServerEvent): void {
  if (event.event === 'snapshot') {
    const { snapshot, tenant } = event;
    const size = formatSize(snapshot.changedBytes);
    const text = `${nameOf(tenant, snapshotName(snapshot))}: a snapshot, ${size} changed`;
    log.info({ event: 'snapshot', tenant, snapshot: snapshotFields(snapshot) }, text);
    if (output.options.json)
      output.status({ state: 'snapshot', ...snapshotFields(snapshot) }, text);
  } else if (event.event === 'failed') {
    const { volume, tenant, error } = event;
    const who = volume === undefined ? 'a session' : nameOf(tenant, volume);
    const text = `${who}: ${messageOf(error)} (${codeOf(error)})`;
    log.warn({ event: 'failed', tenant, volume, code: codeOf(error) }, text);
  } else if (event.event === 'opened') {
    const { volume, tenant, agent } = event;
    const text = `${agent.slice(0, 16)} has opened ${nameOf(tenant, volume)}`;
    log.debug({ event: 'opened', tenant, volume, agent }, text);
  } else if (event.event === 'epoch') {
    const { volume, tenant, epoch, tally } = event;
    const text = `${nameOf(tenant, volume)} is at epoch ${epoch}`;
    log.debug({ event: 'epoch', tenant, volume, epoch, ...tally }, text);
  } else if (event.event === 'promoted') {
    const { volume, tenant, authority, isForced } = event;
    const text = `${nameOf(tenant, volume)} is written here from now on`;
    log.info({ event: 'promoted', tenant, volume, authority, isForced }, text);
  } else if (event.event === 'paired') {
    const { name, tenant } = event;
    log.info({ event: 'paired', agent: name, tenant }, `paired with ${name}`);
    if (output.options.json) output.status({ state: 'paired', name }, '');
  } else if (event.event === 'vouched') {
    const { name } = event;
    log.info({ event: 'vouched', agent: name }, `${name} has come, by its authority`);
  } else if (event.event === 'came') {
    const { agent, name, tenant, peer } = event;
    log.info({ event: 'came', agent, name, tenant, peer }, `${name} has come from ${peer}`);
  } else tellConnection(log, event);
}

type OfConnection = Extract<ServerEvent, { event: 'refused' | 'ended' | 'trouble' }>;

function tellConnection(log: Log, event: OfConnection): void {
  const { error } = event;
  const fields = { event: event.event, code: error === undefined ? undefined : codeOf(error) };
  if (event.event === 'refused') {
    const { peer } = event;
    log.info({ ...fields, peer }, `${peer} was not let in: ${messageOf(error)}`);
  } else if (event.event === 'ended') {
    const { agent, name } = event;
    const why = error === undefined ? '' : `: ${messageOf(error)}`;
    log.info({ ...fields, agent, name }, `${name} has left${why}`);
  } else log.error(fields, messageOf(error));
}
