/** The identity of this node: made at first use, then always the same. */
import {
  type Env,
  readStateFile,
  replaceStateFile,
  type StateFolder,
  withStateLock,
} from '../core/index.ts';
import { createIdentity, loadIdentity, type NodeIdentity } from '../wire/index.ts';
import { ServiceError } from './errors.ts';

const NAME = 'identity.json';
const BYTES_MAX = 64 * 1024;

/** In one file, so that key and certificate always belong together. */
export async function nodeIdentity(
  env: Env,
  folder: StateFolder,
  nodeName: string,
): Promise<NodeIdentity> {
  const path = `${folder.directory}/${NAME}`;
  const known = await readStateFile(env, path, BYTES_MAX);
  if (known !== undefined) return decoded(known, path);
  let identity: NodeIdentity | undefined;
  await withStateLock(env, folder, async () => {
    const made = await readStateFile(env, path, BYTES_MAX);
    if (made !== undefined) identity = decoded(made, path);
    else {
      const wallMs = env.clock.wallMs();
      identity = createIdentity({ random: env.random, wallMs, name: fitting(nodeName) });
      await replaceStateFile(env, path, encoded(identity));
    }
  });
  return identity!;
}

function encoded({ certificates, key }: NodeIdentity): Uint8Array {
  const text = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64');
  const json = { version: 1, certificates: text(certificates), key: text(key) };
  return new TextEncoder().encode(`${JSON.stringify(json)}\n`);
}

function decoded(bytes: Uint8Array, path: string): NodeIdentity {
  try {
    const { version, certificates, key } = JSON.parse(new TextDecoder().decode(bytes));
    if (version !== 1) throw new TypeError(`version ${version}`);
    const binary = (text: string) => new Uint8Array(Buffer.from(text, 'base64'));
    return loadIdentity({ certificates: binary(certificates), key: binary(key) });
  } catch (cause) {
    throw new ServiceError('SERVICE_STATE', `${path} cannot be read`, {
      hint: 'Put it back; without it this node must be paired with its peers again.',
      cause,
    });
  }
}

/** A certificate names a host by letters, digits, dots and dashes. */
function fitting(name: string): string {
  const plain = name.replace(/[^A-Za-z0-9.-]+/g, '-').replace(/^[^A-Za-z0-9]+/, '');
  return plain.slice(0, 63) || 'node';
}
