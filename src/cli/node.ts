/** This node's identity and its peers, in the state directory. */
import { hostname } from 'node:os';
import { nodeIdentity, PeerBook } from '../service/index.ts';
import type { NodeIdentity } from '../wire/index.ts';
import type { Context } from './context.ts';
import { stateFolder } from './repository.ts';

export type Node = { readonly identity: NodeIdentity; readonly peers: PeerBook };

export async function nodeOf(context: Context): Promise<Node> {
  const folder = stateFolder(context, 'node');
  const identity = await nodeIdentity(context.env, folder, hostname());
  return { identity, peers: new PeerBook(context.env, folder) };
}
