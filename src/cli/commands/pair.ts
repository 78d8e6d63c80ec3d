/** `ferry pair`: this node and a provider get to know each other. */
import { pairWith } from '../../service/index.ts';
import type { Context } from '../context.ts';
import { nodeOf } from '../node.ts';
import type { Run } from '../spec.ts';
import type { pairSpec } from '../table/replication.ts';

export const run: Run<typeof pairSpec> = async (context: Context, { provider, token }) => {
  const node = await nodeOf(context);
  const peer = await pairWith(context.env, { ...provider, ...node }, token);
  const { name, fingerprint } = peer;
  const text = `paired with ${name} at ${provider.written} (${fingerprint.slice(0, 16)})`;
  context.output.summary({ state: 'paired', ...peer }, text);
};
