/** This node's identity and its peers, in the state directory. */
import { hostname } from 'node:os';
import { type Env, readStateFile } from '../core/index.ts';
import { type LinkOptions, nodeIdentity, PeerBook } from '../service/index.ts';
import { loadIdentity } from '../wire/index.ts';
import type { Context } from './context.ts';
import { usageError } from './errors.ts';
import type { NodeValues } from './node-options.ts';
import { stateFolder } from './repository.ts';

/** A chain of certificates. */
const PEM_BYTES_MAX = 1024 * 1024;

export type Node = Pick<LinkOptions, 'identity' | 'peers' | 'authorities'>;

/** By the certificate that an authority gave it (--ca), or by its own. */
export async function nodeOf(context: Context, values: NodeValues = {}): Promise<Node> {
  const folder = stateFolder(context, 'node');
  const { env } = context;
  const peers = new PeerBook(env, folder);
  const { ca, cert, key } = values;
  if (ca !== undefined && cert !== undefined && key !== undefined) {
    const certificates = await readPem(env, cert);
    const identity = loadIdentity({ certificates, key: await readPem(env, key) });
    return { identity, peers, authorities: await readPem(env, ca) };
  }
  if ([ca, cert, key].some((file) => file !== undefined)) {
    throw usageError('--ca, --cert and --key belong together');
  }
  const identity = await nodeIdentity(context.env, folder, hostname());
  return { identity, peers };
}

async function readPem(env: Env, path: string): Promise<Uint8Array> {
  const bytes = await readStateFile(env, path, PEM_BYTES_MAX);
  if (bytes !== undefined) return bytes;
  throw usageError(`${path} is not there`);
}
