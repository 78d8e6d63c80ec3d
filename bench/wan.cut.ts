/** Replication over a link that is cut in the middle of it: what it costs, and what comes of it. */
import type { Running } from '../test/interop/processes.ts';
import { arrived, placeOn, until } from './wan.replica.ts';
import { Link, type LinkOptions } from './wan.world.ts';

const THIRD_WITHIN_MS = 120_000;

export type CutOptions = {
  readonly link: LinkOptions;
  readonly port: number;
  readonly image: string;
  readonly imageBytes: number;
  readonly folder: string;
  /** 0: it is not cut. */
  readonly cutSeconds: number;
};

export type CutResult = {
  /** From the agent into the link, with all headers. */
  readonly wireBytes: number;
  readonly seconds: number;
};

/** Throws unless both sides are equal in the end. */
export async function replicatedThroughCut(options: CutOptions): Promise<CutResult> {
  const { image, imageBytes, cutSeconds, folder, port } = options;
  const link = await Link.open(options.link);
  const place = placeOn(link, folder);
  try {
    await place.begin(undefined, `${Link.host(1)}:${port}`);
    await using _provider = place.provider!;
    const words = ['replicate', image, '--once', '--name', 'disk', '--to', place.uri, '--json'];
    const startMs = performance.now();
    await using agent = place.start(...words);
    if (cutSeconds > 0) {
      const look = () => arrived(folder);
      await until(look, THIRD_WITHIN_MS, ({ bytes }) => bytes > imageBytes / 3);
      await link.cut(cutSeconds);
    }
    const digest = await digestOf(agent);
    const seconds = (performance.now() - startMs) / 1000;
    await using again = place.start(...words);
    // All chunks are compared by their hashes.
    if ((await digestOf(again, 0)) !== digest) throw new Error('another digest than before');
    const { forth } = await link.close();
    return { wireBytes: forth.takenBytes, seconds };
  } finally {
    await link.close();
  }
}

/** Of the snapshot that was made; by then so much was not there yet. */
async function digestOf(agent: Running, changedBytes?: number): Promise<string> {
  const { stdout, stderr } = await agent.finished();
  const { dataBytes, knownBytes, zeroBytes, digest } = JSON.parse(
    stdout.trim().split('\n').at(-1)!,
  );
  const changed = dataBytes + knownBytes + zeroBytes;
  const isAsWanted = changedBytes === undefined || changed === changedBytes;
  if (typeof digest === 'string' && isAsWanted) return digest;
  throw new Error(`${changed} bytes differed: ${stderr}`);
}
