/** What both sides believe of who writes, and what must hold of it after a power cut of both. */
import assert from 'node:assert/strict';
import { hash32, type SimulatedDisk, simulatedEnv } from '../../sim/index.ts';
import type { Env } from '../core/index.ts';
import { AgentAuthority } from './replicate/index.ts';
import { replicaFolder } from './replicate/provider/new-replica.ts';
import { readAuthority } from './replicate/provider/replica-authority.ts';

export const FOLDER = '/agent';
export const REPLICA_FOLDER = `/replica/${replicaFolder('vol')}`;

export type Side = 'agent' | 'provider';

export type Moment = {
  readonly disk: SimulatedDisk;
  readonly event: number;
  /** Under which each side has acknowledged a write so far. */
  readonly written: Readonly<Record<Side, number>>;
};

export function openAuthority(env: Env): Promise<AgentAuthority> {
  const makeDirectory = () => env.files.makeDirectory(FOLDER);
  return AgentAuthority.open(env, { directory: FOLDER, makeDirectory }, 'vol');
}

/** They do not both believe that they write under one authority. */
export async function judge(seed: number, { disk, event, written }: Moment): Promise<void> {
  const world = simulatedEnv(hash32(seed, event, 3), { disk });
  await world.run(async () => {
    const { env } = world;
    const { authority, promotion } = await readAuthority(env, REPLICA_FOLDER);
    const { standing } = await openAuthority(env);
    const isBoth = standing.role === 'writes' && promotion !== undefined;
    const where = `seed ${seed}, power cut after event ${event}`;
    assert.ok(!(isBoth && standing.authority === authority), `${where}: two under ${authority}`);
    assert.ok(authority >= written.provider, `${where}: the provider forgets its authority`);
    assert.ok(standing.authority >= written.agent, `${where}: the agent forgets its authority`);
  });
}
