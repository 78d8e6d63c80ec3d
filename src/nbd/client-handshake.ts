/** The client's side of option haggling: what the server offers, checked before it is believed. */
import type { Stream } from '../core/index.ts';
import { getU16, getU32, getU64, putU32 } from './big-endian.ts';
import {
  BASE_ALLOCATION,
  HANDSHAKE_FIXED_NEWSTYLE,
  HANDSHAKE_MAGIC,
  HANDSHAKE_NO_ZEROES,
  INFO_BLOCK_SIZE,
  INFO_DESCRIPTION,
  INFO_EXPORT,
  OPTION_ABORT,
  OPTION_EXPORT_NAME,
  OPTION_EXTENDED_HEADERS,
  OPTION_GO,
  OPTION_LIST,
  OPTION_MAGIC,
  OPTION_REPLY_HEADER_BYTES,
  OPTION_REPLY_MAGIC,
  OPTION_SET_META_CONTEXT,
  OPTION_STARTTLS,
  OPTION_STRUCTURED_REPLY,
  REPLY_ACK,
  REPLY_ERROR,
  REPLY_ERROR_POLICY,
  REPLY_ERROR_TLS_REQUIRED,
  REPLY_ERROR_UNKNOWN,
  REPLY_ERROR_UNSUPPORTED,
  REPLY_INFO,
  REPLY_META_CONTEXT,
  REPLY_SERVER,
} from './constants.ts';
import { NbdError, protocolError } from './errors.ts';
import type { Inbound } from './inbound.ts';
import { META_CONTEXTS_MAX, OPTION_REPLIES_MAX, OPTION_REPLY_BYTES_MAX } from './limits.ts';
import {
  decodeContext,
  decodeServerName,
  encodeInfoRequest,
  encodeMetaRequest,
  GREETING_BYTES,
  hasMagic,
  nameOf,
  optionBytes,
  type WireBlockSizes,
} from './option-codec.ts';
import { STYLE_EXTENDED, STYLE_SIMPLE, STYLE_STRUCTURED } from './reply-codec.ts';

/** What was agreed on with a server about one export. */
export type Terms = {
  readonly sizeBytes: number;
  readonly flags: number;
  readonly style: number;
  readonly description: string;
  /** Undefined if the server said nothing. */
  readonly blockSizes: WireBlockSizes | undefined;
  /** Numbers of the contexts that are ours, by name. */
  readonly contexts: ReadonlyMap<string, number>;
};

export type Wishes = {
  readonly exportName: string;
  /** Beside `base:allocation`. */
  readonly contexts: readonly string[];
  /** Offer no more than this style, for tests and for servers that stumble. */
  readonly styleMax: number;
};

const nothing = new Uint8Array(0);

/** Where the talk goes on, after STARTTLS, if TLS is wanted; its bytes arrive in the inbound. */
export type Secure = (() => Promise<Stream>) | undefined;

export async function agree(
  stream: Stream,
  inbound: Inbound,
  wishes: Wishes,
  secure: Secure,
): Promise<Terms> {
  return await new Haggling(stream, inbound, wishes, secure).agree();
}

export async function listExports(
  stream: Stream,
  inbound: Inbound,
  secure: Secure,
): Promise<string[]> {
  const wishes = { exportName: '', contexts: [], styleMax: STYLE_SIMPLE };
  return await new Haggling(stream, inbound, wishes, secure).list();
}

type OptionReply = { readonly type: number; readonly data: Uint8Array };

class Haggling {
  #stream: Stream;
  readonly #inbound: Inbound;
  readonly #wishes: Wishes;
  readonly #secure: Secure;
  #style = STYLE_SIMPLE;
  #noZeroes = false;

  constructor(stream: Stream, inbound: Inbound, wishes: Wishes, secure: Secure) {
    this.#stream = stream;
    this.#inbound = inbound;
    this.#wishes = wishes;
    this.#secure = secure;
  }

  async agree(): Promise<Terms> {
    const isFixed = await this.#greet();
    if (!isFixed) return await this.#exportName();
    const { styleMax } = this.#wishes;
    if (styleMax >= STYLE_EXTENDED && (await this.#accepts(OPTION_EXTENDED_HEADERS))) {
      this.#style = STYLE_EXTENDED;
    } else if (styleMax >= STYLE_STRUCTURED && (await this.#accepts(OPTION_STRUCTURED_REPLY))) {
      this.#style = STYLE_STRUCTURED;
    }
    const contexts = this.#style === STYLE_SIMPLE ? new Map() : await this.#metaContexts();
    return await this.#go(contexts);
  }

  async list(): Promise<string[]> {
    if (!(await this.#greet())) {
      throw new NbdError('NBD_UNSUPPORTED', `${this.#stream.peer} cannot list its exports`, {
        hint: 'Name the export in the URI.',
      });
    }
    const names: string[] = [];
    const last = await this.#ask(OPTION_LIST, nothing, ({ type, data }) => {
      if (type !== REPLY_SERVER) return;
      const name = decodeServerName(data);
      if (name === undefined) throw protocolError(`${this.#stream.peer} lists a bad name`);
      names.push(name);
    });
    this.#stream.write([optionBytes(OPTION_ABORT, nothing)]);
    if (last.type !== REPLY_ACK) throw this.#refusal(last);
    return names;
  }

  /** True if the server speaks fixed newstyle, in which an option can be refused. */
  async #greet(): Promise<boolean> {
    const bytes = await this.#inbound.take(GREETING_BYTES);
    const { peer } = this.#stream;
    if (!hasMagic(bytes, 0, HANDSHAKE_MAGIC)) throw protocolError(`${peer} is not an NBD server`);
    if (!hasMagic(bytes, 8, OPTION_MAGIC)) {
      throw protocolError(`${peer} speaks only the oldstyle of NBD`, 'Use a newer server.');
    }
    const offered = getU16(bytes, 16);
    const flags = offered & (HANDSHAKE_FIXED_NEWSTYLE | HANDSHAKE_NO_ZEROES);
    this.#noZeroes = (flags & HANDSHAKE_NO_ZEROES) !== 0;
    const reply = new Uint8Array(4);
    putU32(reply, 0, flags);
    this.#stream.write([reply]);
    const isFixed = (flags & HANDSHAKE_FIXED_NEWSTYLE) !== 0;
    if (this.#secure !== undefined) await this.#startTls(this.#secure, isFixed);
    return isFixed;
  }

  /** First of all, and with no way back: nothing is asked of a server that will not have TLS. */
  async #startTls(secure: () => Promise<Stream>, isFixed: boolean): Promise<void> {
    const { peer } = this.#stream;
    const reply = isFixed ? await this.#ask(OPTION_STARTTLS, nothing, () => {}) : undefined;
    if (reply?.type !== REPLY_ACK) {
      throw new NbdError('NBD_TLS', `${peer} does not offer TLS`, {
        hint: 'Start the server with TLS, or use nbd:// over a network that you trust.',
      });
    }
    if (this.#inbound.waitingBytes > 0) throw protocolError(`${peer} goes on in the clear`);
    this.#stream = await secure();
  }

  async #accepts(option: number): Promise<boolean> {
    const { type } = await this.#ask(option, nothing, () => {});
    return type === REPLY_ACK;
  }

  async #metaContexts(): Promise<Map<string, number>> {
    const queries = [BASE_ALLOCATION, ...this.#wishes.contexts];
    const data = encodeMetaRequest({ name: this.#wishes.exportName, queries });
    const contexts = new Map<string, number>();
    const last = await this.#ask(OPTION_SET_META_CONTEXT, data, (reply) => {
      if (reply.type !== REPLY_META_CONTEXT) return;
      const context = decodeContext(reply.data);
      if (context === undefined || !queries.includes(context.name)) {
        throw protocolError(`${this.#stream.peer} selects a context that nobody asked for`);
      }
      if (contexts.size >= META_CONTEXTS_MAX || contexts.has(context.name)) {
        throw protocolError(`${this.#stream.peer} selects ${context.name} twice`);
      }
      contexts.set(context.name, context.id);
    });
    // Without contexts one goes on: every block then counts as data.
    return last.type === REPLY_ACK ? contexts : new Map();
  }

  async #go(contexts: ReadonlyMap<string, number>): Promise<Terms> {
    const infos = [INFO_BLOCK_SIZE, INFO_DESCRIPTION];
    const data = encodeInfoRequest({ name: this.#wishes.exportName, infos });
    let size: { sizeBytes: number; flags: number } | undefined;
    let blockSizes: WireBlockSizes | undefined;
    let description = '';
    const last = await this.#ask(OPTION_GO, data, (reply) => {
      if (reply.type !== REPLY_INFO) return;
      const info = reply.data;
      const kind = info.byteLength < 2 ? -1 : getU16(info, 0);
      if (kind === INFO_EXPORT && info.byteLength === 12) {
        size = { sizeBytes: getU64(info, 2), flags: getU16(info, 10) };
      } else if (kind === INFO_BLOCK_SIZE && info.byteLength === 14) {
        blockSizes = {
          minimumBytes: getU32(info, 2),
          preferredBytes: getU32(info, 6),
          maximumBytes: getU32(info, 10),
        };
      } else if (kind === INFO_DESCRIPTION) {
        description = nameOf(info.subarray(2)) ?? '';
      } else if (kind < 0 || kind === INFO_EXPORT || kind === INFO_BLOCK_SIZE) {
        throw protocolError(
          `${this.#stream.peer} describes its export in ${info.byteLength} bytes`,
        );
      }
    });
    if (last.type === REPLY_ERROR_UNSUPPORTED && this.#style !== STYLE_EXTENDED) {
      return { ...(await this.#exportName()), contexts };
    }
    if (last.type !== REPLY_ACK) throw this.#refusal(last);
    if (size === undefined) throw protocolError(`${this.#stream.peer} tells no size`);
    return { ...size, style: this.#style, description, blockSizes, contexts };
  }

  /** The old way in: the server answers with the size or hangs up. */
  async #exportName(): Promise<Terms> {
    const name = Buffer.from(this.#wishes.exportName);
    this.#stream.write([optionBytes(OPTION_EXPORT_NAME, name)]);
    const bytes = await this.#inbound.take(this.#noZeroes ? 10 : 134);
    return {
      sizeBytes: getU64(bytes, 0),
      flags: getU16(bytes, 8),
      style: this.#style,
      description: '',
      blockSizes: undefined,
      contexts: new Map(),
    };
  }

  /** Passes on every reply but the last, which is an acknowledgement or an error. */
  async #ask(
    option: number,
    data: Uint8Array,
    onReply: (reply: OptionReply) => void,
  ): Promise<OptionReply> {
    const { peer } = this.#stream;
    this.#stream.write([optionBytes(option, data)]);
    for (let count = 0; count <= OPTION_REPLIES_MAX; count += 1) {
      const header = await this.#inbound.take(OPTION_REPLY_HEADER_BYTES);
      if (!hasMagic(header, 0, OPTION_REPLY_MAGIC)) throw protocolError(`${peer} sends no reply`);
      if (getU32(header, 8) !== option) throw protocolError(`${peer} answers another option`);
      const lengthBytes = getU32(header, 16);
      if (lengthBytes > OPTION_REPLY_BYTES_MAX) {
        throw protocolError(`${peer} announces a reply of ${lengthBytes} bytes`);
      }
      const type = getU32(header, 12);
      const reply = { type, data: await this.#inbound.take(lengthBytes) };
      if (type === REPLY_ACK || type >= REPLY_ERROR) return reply;
      onReply(reply);
    }
    throw protocolError(`${peer} never ends its replies`);
  }

  #refusal({ type, data }: OptionReply): NbdError {
    const { peer } = this.#stream;
    const name = this.#wishes.exportName;
    // A server's own words are shown, not trusted: one line, not too long, nothing unprintable.
    const words = (nameOf(data) ?? '').replace(/[^\x20-\x7e]+/g, ' ').slice(0, 200);
    const said = words === '' ? '' : ` ("${words}")`;
    if (type === REPLY_ERROR_UNKNOWN) {
      return new NbdError('NBD_UNKNOWN_EXPORT', `${peer} has no export "${name}"${said}`, {
        hint: 'List the exports of the server.',
      });
    }
    if (type === REPLY_ERROR_TLS_REQUIRED) {
      return new NbdError('NBD_TLS', `${peer} demands TLS${said}`, {
        hint: 'Use an nbds:// or nbds+unix:// URI.',
      });
    }
    if (type === REPLY_ERROR_POLICY) {
      return new NbdError('NBD_REFUSED', `${peer} refuses the export "${name}"${said}`, {
        hint: 'The server may demand another client address.',
      });
    }
    const number = type - REPLY_ERROR;
    return new NbdError('NBD_REFUSED', `${peer} answers with error ${number}${said}`, {
      hint: 'Look at the log of the server.',
    });
  }
}
