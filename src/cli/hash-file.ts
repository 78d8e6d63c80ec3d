/** The list of block hashes that `analyze --hashes` writes: text, one line per block. */
import { type Env, toHex, writeFully } from '../core/index.ts';
import type { HashList } from '../transfer/analyze/index.ts';

const HEADER = '# sha256\tlengthBytes\toffsetBytes\timage\n';

export type HashFile = HashList &
  AsyncDisposable & {
    /** Writes the rest; what was listed is complete only then. */
    finish(): Promise<void>;
  };

/** Refuses to overwrite: a mistyped command line must not cost an image. */
export async function hashFile(env: Env, path: string): Promise<HashFile> {
  const file = await env.files.open(path, 'create');
  let waiting = HEADER;
  let offsetBytes = 0;

  async function settle(): Promise<void> {
    const bytes = new TextEncoder().encode(waiting);
    waiting = '';
    await writeFully(file, bytes, offsetBytes);
    offsetBytes += bytes.byteLength;
  }

  return {
    add(image, offset, length, digest) {
      waiting += `${toHex(digest)}\t${length}\t${offset}\t${image}\n`;
    },
    settle,
    async finish() {
      await settle();
      await file.sync();
    },
    [Symbol.asyncDispose]: () => file.close(),
  };
}
