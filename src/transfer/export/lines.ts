/** JSON, one value a line, over a stream: the control protocol's messages. */
import { EnvError, type Stream } from '../../core/index.ts';
import { LINE_BYTES_MAX } from './limits.ts';

export type Message = { readonly [key: string]: unknown };

/** One side of a conversation; `next` is undefined once the peer is gone. */
export class Lines implements AsyncDisposable {
  readonly #stream: Stream;
  readonly #messages: Message[] = [];
  #partial = Buffer.alloc(0);
  #waiting: PromiseWithResolvers<Message | undefined> | undefined;
  #ended: { readonly error: EnvError | undefined } | undefined;

  constructor(stream: Stream) {
    this.#stream = stream;
    stream.start({
      onBytes: (view) => this.#take(view),
      onDrained() {},
      onEnd: () => stream.end(),
      onClosed: (error) => this.#end(error),
    });
  }

  send(message: Message): void {
    if (this.#ended !== undefined) return;
    this.#stream.write([Buffer.from(`${JSON.stringify(message)}\n`)]);
  }

  /** One call at a time. Fails with ENV_INVALID if the peer does not keep to the protocol. */
  next(): Promise<Message | undefined> {
    const message = this.#messages.shift();
    if (message !== undefined) return Promise.resolve(message);
    if (this.#ended?.error?.code === 'ENV_INVALID') return Promise.reject(this.#ended.error);
    if (this.#ended !== undefined) return Promise.resolve(undefined);
    this.#waiting = Promise.withResolvers();
    return this.#waiting.promise;
  }

  get isOver(): boolean {
    return this.#ended !== undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stream.destroy();
    this.#end(undefined);
  }

  #take(view: Uint8Array): void {
    this.#partial = Buffer.concat([this.#partial, view]);
    for (;;) {
      const end = this.#partial.indexOf(0x0a);
      const lineBytes = end < 0 ? this.#partial.byteLength : end;
      if (lineBytes > LINE_BYTES_MAX) this.#break(`a line of more than ${LINE_BYTES_MAX} bytes`);
      if (end < 0 || this.isOver) return;
      const message = parse(this.#partial.toString('utf8', 0, end));
      this.#partial = this.#partial.subarray(end + 1);
      if (message === undefined) this.#break('a line that is no JSON object');
      else this.#give(message);
    }
  }

  #give(message: Message): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (waiting !== undefined) waiting.resolve(message);
    else if (this.#messages.length < 8) this.#messages.push(message);
    else this.#break('more messages than were asked for');
  }

  #break(what: string): void {
    const hint = 'Both sides must be of one version of ferry; start the export anew.';
    this.#end(new EnvError('ENV_INVALID', `${this.#stream.peer} sent ${what}`, { hint }));
    this.#stream.destroy();
  }

  #end(error: EnvError | undefined): void {
    this.#ended ??= { error };
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (error?.code === 'ENV_INVALID') waiting?.reject(error);
    else waiting?.resolve(undefined);
  }
}

function parse(text: string): Message | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Message) : undefined;
  } catch {
    return undefined;
  }
}
