/** Finds out what an S3 server can do, by trying: names and versions of products tell little. */
import type { S3Attempt, S3Calls } from './s3-calls.ts';
import { failureOf, readBody } from './s3-client.ts';

export type S3Abilities = {
  /** Of several writers of one name exactly one is told that it made the object. */
  readonly putIfAbsent: boolean;
};

/** A server that looks first and writes then lets several through. */
const RACERS = 6;

const ROUNDS = 2;

type Place = { readonly Bucket: string; readonly Key: string };

/** Makes a few objects under names that begin with `place.Key`, and removes them. */
export async function findAbilities(calls: S3Calls, place: Place): Promise<S3Abilities> {
  let putIfAbsent = true;
  for (let round = 0; putIfAbsent && round < ROUNDS; round++) {
    const at = { ...place, Key: `${place.Key}-${round}` };
    try {
      putIfAbsent = await refusesTaken(calls, at);
    } finally {
      await removeProbe(calls, at);
    }
  }
  return { putIfAbsent };
}

async function refusesTaken(calls: S3Calls, place: Place): Promise<boolean> {
  const results = await Promise.all(
    Array.from({ length: RACERS }, (_, number) => tryPut(calls, place, number)),
  );
  const late = await tryPut(calls, place, RACERS);
  if (results.includes('unknown') || late !== 'refused') return false;
  // A put that was tried again may have been refused because of itself: then nobody has won.
  const winners = results.flatMap((result, number) => (result === 'made' ? [number] : []));
  if (winners.length > 1) return false;
  const content = await readProbe(calls, place);
  return content < RACERS && (winners.length === 0 || content === winners[0]);
}

/** `unknown`: the server does not know the condition. */
async function tryPut(
  calls: S3Calls,
  place: Place,
  number: number,
): Promise<'made' | 'refused' | 'unknown'> {
  return calls.run({ verb: 'try', key: 'a put if absent', class: 'put' }, async (attempt) => {
    const { sdk, client, signal } = attempt;
    const command = new sdk.PutObjectCommand({
      ...place,
      Body: Buffer.of(number),
      IfNoneMatch: '*',
    });
    try {
      await client.send(command, { abortSignal: signal });
      return 'made';
    } catch (error) {
      const status = failureOf(error)?.status;
      if (status === 412) return 'refused';
      if (status === 501 || status === 400) return 'unknown';
      throw error;
    }
  });
}

async function readProbe(calls: S3Calls, place: Place): Promise<number> {
  const call = { verb: 'read', key: 'what was put', class: 'get' } as const;
  return calls.run(call, async ({ sdk, client, signal }: S3Attempt) => {
    const { Body } = await client.send(new sdk.GetObjectCommand(place), { abortSignal: signal });
    const content = new Uint8Array(1);
    await readBody(Body, content, signal);
    return content[0]!;
  });
}

async function removeProbe(calls: S3Calls, place: Place): Promise<void> {
  await calls.run({ verb: 'remove', key: 'what was put', class: 'delete' }, async (attempt) => {
    const { sdk, client, signal } = attempt;
    await client.send(new sdk.DeleteObjectCommand(place), { abortSignal: signal });
  });
}
