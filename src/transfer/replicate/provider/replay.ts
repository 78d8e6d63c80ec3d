/** Replay: what a journal that was left behind says, record by record. */
import type { Env } from '../../../core/index.ts';
import {
  decodeBlockData,
  decodeBlockReference,
  decodeEpochCommit,
  decodeEpochCut,
  type EpochCommit,
  type EpochCut,
} from '../../../wire/index.ts';
import type { EpochGroup } from '../epoch-group.ts';
import { damagedJournal } from '../errors.ts';
import { Attempt } from './attempt.ts';
import type { Contents } from './contents.ts';
import { decodeReady, type Ready } from './group-record.ts';
import { Journal } from './journal.ts';
import * as record from './journal-record.ts';
import { overlay, type Piece } from './pieces.ts';

export type ReplayOptions = {
  readonly path: string;
  readonly sizeBytes: number;
  /** Learns what lies in it. */
  readonly contents: Contents;
};

/** An epoch that is the state. */
export type Applied = {
  readonly commit: EpochCommit;
  readonly cut: EpochCut;
  readonly group: EpochGroup | undefined;
};

/** A piece of a journal that is not there yet gets it when all is read. */
type Reader = (journal: Journal) => void | Promise<void>;

export class Replay {
  readonly #options: ReplayOptions;
  /** What to do once the journal is open: references are looked up then, in their order. */
  readonly #later: Reader[] = [];
  pieces: readonly Piece[] = [];
  /** The highest epoch that began in it. */
  seen = 0;
  /** The last epoch that is whole in it. */
  last: Applied | undefined;
  /** It ends with an epoch that is whole, and of which its group may have decided. */
  ready: Ready | undefined;
  #attempt: Attempt | undefined;

  constructor(options: ReplayOptions) {
    this.#options = options;
  }

  async open(env: Env, volume: string): Promise<Journal> {
    const { path, sizeBytes } = this.#options;
    const facts = { volume, sizeBytes };
    const journal = await Journal.open(env, path, facts, (type, payload, place) => {
      this.#later.push(this.#read(type, payload, place));
    });
    for (const read of this.#later) await read(journal);
    return journal;
  }

  #read(type: number, payload: Uint8Array, place: record.RecordPlace): Reader {
    const { contents, sizeBytes, path } = this.#options;
    if (type === record.RECORD_CUT) {
      const cut = decodeEpochCut(payload);
      return () => {
        this.seen = Math.max(this.seen, cut.epoch);
        this.ready = undefined;
        this.giveUp();
        this.#attempt = new Attempt(cut, sizeBytes);
      };
    }
    if (type === record.RECORD_DATA) {
      const whole = decodeBlockData(payload);
      // Without the bytes of the frame, which stay on the disk.
      const entries = whole.entries.map((entry) => ({ ...entry, hash: entry.hash?.slice() }));
      const data = { ...whole, entries, frame: new Uint8Array(0) };
      return (journal) => {
        contents.learn(data, place);
        this.#attemptOf(data.epoch)?.addData(data, journal, place);
      };
    }
    if (type === record.RECORD_REFERENCES) {
      const message = decodeBlockReference(payload);
      return async (journal) => {
        const own = this.#attemptOf(message.epoch);
        own?.addReferences(message, await contents.resolve(message, journal));
      };
    }
    if (type === record.RECORD_COMMIT) {
      const commit = decodeEpochCommit(payload);
      return () => this.commit(commit);
    }
    if (type === record.RECORD_READY) {
      const ready = decodeReady(payload);
      return () => {
        this.ready = ready;
      };
    }
    throw damagedJournal(path, `records of type ${type} are not known`);
  }

  #attemptOf(epoch: number): Attempt | undefined {
    return this.#attempt?.cut.epoch === epoch ? this.#attempt : undefined;
  }

  /** Nothing more comes of the epoch that it was about, or ends with. */
  giveUp(): void {
    if (this.#attempt !== undefined) this.#options.contents.gaveUp(this.#attempt.came);
    this.#attempt = undefined;
  }

  /** An epoch that is whole in it becomes the state. */
  commit(commit: EpochCommit): void {
    const attempt = this.#attemptOf(commit.epoch);
    if (attempt === undefined || !attempt.isComplete(commit)) {
      throw damagedJournal(this.#options.path, `epoch ${commit.epoch} is not whole in it`);
    }
    this.pieces = overlay(this.pieces, attempt.pieces());
    const group = this.ready?.commit.epoch === commit.epoch ? this.ready.group : undefined;
    this.last = { commit, cut: attempt.cut, group };
    this.ready = undefined;
    this.#attempt = undefined;
    this.#options.contents.committed();
  }
}
