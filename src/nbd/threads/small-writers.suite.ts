/** Clients that know nothing of block sizes: each writes sectors of its own into shared blocks. */
import assert from 'node:assert/strict';
import type { Address } from '../../core/index.ts';
import { COMMAND_DISCONNECT, COMMAND_WRITE } from '../constants.ts';
import { readyClient, requestOf, takeSimple } from '../loopback.suite.ts';
import type { NbdServer } from '../server.ts';

const CLIENTS = 4;
const SECTOR_BYTES = 512;

/** Neighbouring sectors belong to different clients. Answers what each sector must hold. */
export async function smallWriters(
  server: { readonly address: Address },
  { sectors, rounds }: { readonly sectors: number; readonly rounds: number },
): Promise<Uint8Array> {
  const peers = await Promise.all(
    Array.from({ length: CLIENTS }, () => readyClient(server as NbdServer)),
  );
  const last = new Uint8Array(sectors);
  const work = peers.map(async (peer, owner) => {
    for (let round = 1; round <= rounds; round++) {
      const payload = new Uint8Array(SECTOR_BYTES).fill(round);
      for (let sector = owner; sector < sectors; sector += CLIENTS) {
        last[sector] = round;
        const offsetBytes = sector * SECTOR_BYTES;
        const request = { command: COMMAND_WRITE, offsetBytes, lengthBytes: SECTOR_BYTES };
        peer.send(requestOf(request), payload);
      }
      for (let sector = owner; sector < sectors; sector += CLIENTS) {
        assert.equal((await takeSimple(peer)).error, 0);
      }
    }
    peer.send(requestOf({ command: COMMAND_DISCONNECT }));
    await peer.ended;
    peer.stream.destroy();
  });
  await Promise.all(work);
  return last;
}
