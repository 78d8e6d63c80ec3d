/** The server's side of option haggling, from the greeting to an agreement. */
import type { Stream } from '../core/index.ts';
import type { Agreement } from './agreement.ts';
import { getU32, putU16, putU64 } from './big-endian.ts';
import {
  HANDSHAKE_FIXED_NEWSTYLE,
  HANDSHAKE_NO_ZEROES,
  INFO_BLOCK_SIZE,
  INFO_DESCRIPTION,
  INFO_NAME,
  OPTION_ABORT,
  OPTION_EXPORT_NAME,
  OPTION_EXTENDED_HEADERS,
  OPTION_GO,
  OPTION_HEADER_BYTES,
  OPTION_INFO,
  OPTION_LIST,
  OPTION_LIST_META_CONTEXT,
  OPTION_MAGIC,
  OPTION_SET_META_CONTEXT,
  OPTION_STARTTLS,
  OPTION_STRUCTURED_REPLY,
  REPLY_ACK,
  REPLY_ERROR_EXTENDED_HEADERS_REQUIRED,
  REPLY_ERROR_INVALID,
  REPLY_ERROR_POLICY,
  REPLY_ERROR_TLS_REQUIRED,
  REPLY_ERROR_TOO_BIG,
  REPLY_ERROR_UNKNOWN,
  REPLY_ERROR_UNSUPPORTED,
  REPLY_INFO,
  REPLY_META_CONTEXT,
  REPLY_SERVER,
  TRANSMISSION_CAN_MULTI_CONN,
  TRANSMISSION_HAS_FLAGS,
  TRANSMISSION_READ_ONLY,
  TRANSMISSION_ROTATIONAL,
  TRANSMISSION_SEND_CACHE,
  TRANSMISSION_SEND_DF,
  TRANSMISSION_SEND_FAST_ZERO,
  TRANSMISSION_SEND_FLUSH,
  TRANSMISSION_SEND_FUA,
  TRANSMISSION_SEND_TRIM,
  TRANSMISSION_SEND_WRITE_ZEROES,
} from './constants.ts';
import { NbdError } from './errors.ts';
import type { ClientExports, OpenExport } from './exports.ts';
import type { Inbound } from './inbound.ts';
import {
  HANDSHAKE_BYTES_MAX,
  HANDSHAKE_QUEUED_BYTES_MAX,
  LIST_EXPORTS_MAX,
  META_CONTEXTS_MAX,
  OPTION_BYTES_MAX,
  OPTIONS_MAX,
  PAYLOAD_BYTES_MAX,
} from './limits.ts';
import {
  decodeInfoRequest,
  decodeMetaRequest,
  encodeBlockSizeInfo,
  encodeContext,
  encodeExportInfo,
  encodeServerName,
  encodeTextInfo,
  greeting,
  hasMagic,
  type InfoRequest,
  nameOf,
  optionReplyBytes,
} from './option-codec.ts';
import { STYLE_EXTENDED, STYLE_SIMPLE, STYLE_STRUCTURED } from './reply-codec.ts';

const nothing = new Uint8Array(0);

/** How a connection becomes secure; undefined on servers without TLS. */
export type Upgrade = {
  readonly isRequired: boolean;
  /** Called once; from then on the inbound bytes come from the answered stream. */
  secure(): Promise<Stream>;
};

/** Undefined if the client left in the proper way; an NbdError says that it must be cut off. */
export async function negotiate(
  stream: Stream,
  inbound: Inbound,
  table: ClientExports,
  upgrade: Upgrade | undefined,
): Promise<Agreement | undefined> {
  return await new Negotiation(stream, inbound, table, upgrade).run();
}

class Negotiation {
  #stream: Stream;
  readonly #inbound: Inbound;
  readonly #table: ClientExports;
  readonly #upgrade: Upgrade | undefined;
  #isSecure = false;
  #noZeroes = false;
  #style = STYLE_SIMPLE;
  #contexts: Agreement['contexts'] = [];
  /** Contexts hold for the export that they were asked of. */
  #contextsOf: string | undefined;
  #receivedBytes = 0;
  #queuedBytes = 0;

  constructor(
    stream: Stream,
    inbound: Inbound,
    table: ClientExports,
    upgrade: Upgrade | undefined,
  ) {
    this.#stream = stream;
    this.#inbound = inbound;
    this.#table = table;
    this.#upgrade = upgrade;
  }

  async run(): Promise<Agreement | undefined> {
    this.#write([greeting(HANDSHAKE_FIXED_NEWSTYLE | HANDSHAKE_NO_ZEROES)]);
    const flags = getU32(await this.#inbound.take(4), 0);
    if ((flags & ~(HANDSHAKE_FIXED_NEWSTYLE | HANDSHAKE_NO_ZEROES)) !== 0) {
      throw broken(`unknown client flags ${flags}`);
    }
    this.#noZeroes = (flags & HANDSHAKE_NO_ZEROES) !== 0;
    for (let count = 0; count < OPTIONS_MAX; count += 1) {
      const header = await this.#inbound.take(OPTION_HEADER_BYTES);
      if (!hasMagic(header, 0, OPTION_MAGIC)) throw broken('an option without its magic number');
      const option = getU32(header, 8);
      const lengthBytes = getU32(header, 12);
      this.#receivedBytes += OPTION_HEADER_BYTES + lengthBytes;
      if (this.#receivedBytes > HANDSHAKE_BYTES_MAX) throw broken('too many bytes of options');
      if (lengthBytes > OPTION_BYTES_MAX) {
        if (option === OPTION_EXPORT_NAME) throw broken('an endless export name');
        await this.#inbound.skip(lengthBytes);
        this.#reply(option, REPLY_ERROR_TOO_BIG);
        continue;
      }
      const data = await this.#inbound.take(lengthBytes);
      if (option === OPTION_ABORT) {
        this.#reply(option, REPLY_ACK);
        return undefined;
      }
      const agreement = await this.#answer(option, data);
      if (agreement !== undefined) return agreement;
    }
    throw broken(`more than ${OPTIONS_MAX} options`);
  }

  async #answer(option: number, data: Uint8Array): Promise<Agreement | undefined> {
    if (option === OPTION_STARTTLS) {
      await this.#startTls(data);
      return undefined;
    }
    if (this.#upgrade?.isRequired === true && !this.#isSecure) {
      if (option === OPTION_EXPORT_NAME) throw broken('EXPORT_NAME without TLS');
      this.#reply(option, REPLY_ERROR_TLS_REQUIRED);
      return undefined;
    }
    switch (option) {
      case OPTION_EXPORT_NAME:
        return await this.#exportName(data);
      case OPTION_GO:
      case OPTION_INFO:
        return await this.#info(option, data);
      case OPTION_LIST:
        await this.#list(data);
        return undefined;
      case OPTION_STRUCTURED_REPLY:
        this.#raise(option, data, STYLE_STRUCTURED);
        return undefined;
      case OPTION_EXTENDED_HEADERS:
        this.#raise(option, data, STYLE_EXTENDED);
        return undefined;
      case OPTION_LIST_META_CONTEXT:
      case OPTION_SET_META_CONTEXT:
        await this.#metaContexts(option, data);
        return undefined;
      default:
        this.#reply(option, REPLY_ERROR_UNSUPPORTED);
        return undefined;
    }
  }

  /** Whatever was agreed on in the clear may be a stranger's doing: it is forgotten. */
  async #startTls(data: Uint8Array): Promise<void> {
    if (data.byteLength > 0 || this.#isSecure) {
      this.#reply(OPTION_STARTTLS, REPLY_ERROR_INVALID);
      return;
    }
    if (this.#upgrade === undefined) {
      this.#reply(OPTION_STARTTLS, REPLY_ERROR_POLICY);
      return;
    }
    if (this.#inbound.waitingBytes > 0) throw broken('bytes in the clear behind STARTTLS');
    this.#reply(OPTION_STARTTLS, REPLY_ACK);
    this.#stream = await this.#upgrade.secure();
    this.#isSecure = true;
    this.#style = STYLE_SIMPLE;
    this.#contexts = [];
    this.#contextsOf = undefined;
    await this.#table.close();
  }

  #raise(option: number, data: Uint8Array, style: number): void {
    if (data.byteLength > 0) {
      this.#reply(option, REPLY_ERROR_INVALID);
      return;
    }
    if (style < this.#style) {
      this.#reply(option, REPLY_ERROR_EXTENDED_HEADERS_REQUIRED);
      return;
    }
    this.#style = style;
    this.#reply(option, REPLY_ACK);
  }

  /** The old way in: there is no reply that could say no. */
  async #exportName(data: Uint8Array): Promise<Agreement> {
    const name = nameOf(data);
    const opened = name === undefined ? undefined : await this.#table.open(name);
    if (opened === undefined) throw broken('an unknown export was asked for');
    if (this.#style === STYLE_EXTENDED) throw broken('EXPORT_NAME after EXTENDED_HEADERS');
    const bytes = new Uint8Array(this.#noZeroes ? 10 : 134);
    putU64(bytes, 0, opened.shared.device.sizeBytes);
    putU16(bytes, 8, transmissionFlags(opened, this.#style));
    this.#write([bytes]);
    return this.#agree(opened);
  }

  #agree(opened: OpenExport): Agreement {
    const contexts = this.#contextsOf === opened.name ? this.#contexts : [];
    return { style: this.#style, opened, contexts };
  }

  async #info(option: number, data: Uint8Array): Promise<Agreement | undefined> {
    const request = decodeInfoRequest(data);
    if (request === undefined) {
      this.#reply(option, REPLY_ERROR_INVALID);
      return undefined;
    }
    const opened = await this.#table.open(request.name);
    if (opened === undefined) {
      this.#reply(option, REPLY_ERROR_UNKNOWN);
      return undefined;
    }
    this.#write([
      ...infos(opened, request, this.#style).map((info) =>
        optionReplyBytes(option, REPLY_INFO, info),
      ),
      optionReplyBytes(option, REPLY_ACK, nothing),
    ]);
    return option === OPTION_GO ? this.#agree(opened) : undefined;
  }

  async #list(data: Uint8Array): Promise<void> {
    if (data.byteLength > 0) {
      this.#reply(OPTION_LIST, REPLY_ERROR_INVALID);
      return;
    }
    const names = await this.#table.source.list();
    const replies = names
      .slice(0, LIST_EXPORTS_MAX)
      .map((name) => optionReplyBytes(OPTION_LIST, REPLY_SERVER, encodeServerName(name)));
    replies.push(optionReplyBytes(OPTION_LIST, REPLY_ACK, nothing));
    this.#write(replies);
  }

  async #metaContexts(option: number, data: Uint8Array): Promise<void> {
    const isSet = option === OPTION_SET_META_CONTEXT;
    if (isSet) {
      this.#contexts = [];
      this.#contextsOf = undefined;
    }
    const request = decodeMetaRequest(data);
    if (request === undefined || this.#style === STYLE_SIMPLE) {
      this.#reply(option, REPLY_ERROR_INVALID);
      return;
    }
    const opened = await this.#table.open(request.name);
    if (opened === undefined) {
      this.#reply(option, REPLY_ERROR_UNKNOWN);
      return;
    }
    const { queries } = request;
    const matches = (name: string) =>
      queries.some((query) => query === name || (!isSet && isNamespaceOf(query, name))) ||
      (!isSet && queries.length === 0);
    const found = opened.contexts
      .map((context, id) => ({ id: id + 1, context }))
      .filter(({ context }) => matches(context.name))
      .slice(0, META_CONTEXTS_MAX);
    if (isSet) {
      this.#contexts = found;
      this.#contextsOf = request.name;
    }
    this.#write([
      ...found.map(({ id, context }) =>
        // Listed contexts have no number yet.
        optionReplyBytes(option, REPLY_META_CONTEXT, encodeContext(isSet ? id : 0, context.name)),
      ),
      optionReplyBytes(option, REPLY_ACK, nothing),
    ]);
  }

  #reply(option: number, type: number): void {
    this.#write([optionReplyBytes(option, type, nothing)]);
  }

  /** Of a client that asks and does not read, nothing more is taken until it does. */
  #write(buffers: readonly Uint8Array[]): void {
    const lengthBytes = buffers.reduce((sum, buffer) => sum + buffer.byteLength, 0);
    this.#queuedBytes += lengthBytes;
    if (this.#queuedBytes > HANDSHAKE_QUEUED_BYTES_MAX) this.#inbound.hold();
    this.#stream.write(buffers, () => {
      this.#queuedBytes -= lengthBytes;
      if (this.#queuedBytes <= HANDSHAKE_QUEUED_BYTES_MAX) this.#inbound.letGo();
    });
  }
}

/** `base:` asks for everything whose name begins so. */
function isNamespaceOf(query: string, name: string): boolean {
  return query.endsWith(':') && name.startsWith(query);
}

function infos(opened: OpenExport, request: InfoRequest, style: number): Uint8Array[] {
  const { device } = opened.shared;
  const result = [encodeExportInfo(device.sizeBytes, transmissionFlags(opened, style))];
  if (request.infos.includes(INFO_NAME)) result.push(encodeTextInfo(INFO_NAME, opened.name));
  if (request.infos.includes(INFO_DESCRIPTION) && opened.description !== '') {
    result.push(encodeTextInfo(INFO_DESCRIPTION, opened.description));
  }
  if (request.infos.includes(INFO_BLOCK_SIZE)) result.push(encodeBlockSizeInfo(sizes(opened)));
  return result;
}

/** The device's own, as far as the protocol can say them; others are made to fit by the server. */
function sizes({ shared }: OpenExport) {
  const { minimumBytes, preferredBytes } = shared.announcedSizes;
  return { minimumBytes, preferredBytes, maximumBytes: PAYLOAD_BYTES_MAX };
}

export function transmissionFlags(opened: OpenExport, style: number): number {
  const { device } = opened.shared;
  const both =
    TRANSMISSION_HAS_FLAGS |
    TRANSMISSION_SEND_FLUSH |
    TRANSMISSION_SEND_CACHE |
    (opened.isMomentary ? 0 : TRANSMISSION_CAN_MULTI_CONN) |
    (device.hints.rotational ? TRANSMISSION_ROTATIONAL : 0) |
    (style === STYLE_SIMPLE ? 0 : TRANSMISSION_SEND_DF);
  if (opened.readOnly) return both | TRANSMISSION_READ_ONLY;
  return (
    both |
    TRANSMISSION_SEND_FUA |
    TRANSMISSION_SEND_TRIM |
    TRANSMISSION_SEND_WRITE_ZEROES |
    TRANSMISSION_SEND_FAST_ZERO
  );
}

function broken(what: string): NbdError {
  return new NbdError('NBD_PROTOCOL', `the client broke the handshake: ${what}`, {
    hint: 'Use an NBD client that speaks fixed newstyle.',
  });
}
