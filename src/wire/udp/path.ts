/** Where a lane's packets go: to an address only that has answered a question sent to it. */
import { type DatagramAddress, equalSecrets, type Random } from '../../core/index.ts';
import { PING_BYTES } from './packets.ts';

/** RFC 9000, section 8.1: so many times what came from an address that is not proven. */
const AMPLIFICATION_MAX = 3;
/** Addresses that are being asked at the same time; a further one takes the oldest one's place. */
const ASKED_MAX = 4;

type Asked = {
  readonly address: DatagramAddress;
  readonly question: Uint8Array;
  receivedBytes: number;
  sentBytes: number;
};

export class Path {
  readonly #random: Random;
  #proven: DatagramAddress | undefined;
  #asked: Asked[] = [];

  constructor(random: Random) {
    this.#random = random;
  }

  /** Undefined until some address is proven. */
  get address(): DatagramAddress | undefined {
    return this.#proven;
  }

  /**
   * An authentic packet came from `from`. Answers what to ask there, if that address is not the
   * proven one and may be sent `pingBytes` more.
   */
  onPacket(from: DatagramAddress, lengthBytes: number, pingBytes: number): Uint8Array | undefined {
    if (this.#proven !== undefined && isSame(this.#proven, from)) return undefined;
    let asked = this.#asked.find(({ address }) => isSame(address, from));
    if (asked === undefined) {
      asked = { address: from, question: this.#question(), receivedBytes: 0, sentBytes: 0 };
      this.#asked.push(asked);
      if (this.#asked.length > ASKED_MAX) this.#asked.shift();
    }
    asked.receivedBytes += lengthBytes;
    return this.#spend(asked, pingBytes) ? asked.question : undefined;
  }

  /** Whether an answer of `lengthBytes` may go to `from`, proven or not. */
  mayAnswer(from: DatagramAddress, lengthBytes: number): boolean {
    if (this.#proven !== undefined && isSame(this.#proven, from)) return true;
    const asked = this.#asked.find(({ address }) => isSame(address, from));
    return asked !== undefined && this.#spend(asked, lengthBytes);
  }

  /** This side asks of itself, at an address that it was told by the control lane. */
  ask(address: DatagramAddress): Uint8Array {
    const known = this.#asked.find((asked) => isSame(asked.address, address));
    if (known !== undefined) return known.question;
    const question = this.#question();
    this.#asked.push({ address, question, receivedBytes: 0, sentBytes: 0 });
    return question;
  }

  /** An answer came; true if it proves `from`. */
  onAnswer(from: DatagramAddress, answer: Uint8Array): boolean {
    const asked = this.#asked.find(({ address }) => isSame(address, from));
    if (asked === undefined || !equalSecrets(asked.question, answer)) return false;
    this.#asked = this.#asked.filter((other) => other !== asked);
    this.#proven = asked.address;
    return true;
  }

  #question(): Uint8Array {
    const question = new Uint8Array(PING_BYTES);
    this.#random.fill(question);
    return question;
  }

  #spend(asked: Asked, bytes: number): boolean {
    if (asked.sentBytes + bytes > AMPLIFICATION_MAX * asked.receivedBytes) return false;
    asked.sentBytes += bytes;
    return true;
  }
}

function isSame(a: DatagramAddress, b: DatagramAddress): boolean {
  return a === b || (a.port === b.port && a.host === b.host);
}
