/** Keeps recently read files open: a pack is read thousands of times. */
import type { OpenFile } from '../core/index.ts';
import { IDLE_HANDLES_MAX } from './limits.ts';

type Handle = { readonly opening: Promise<OpenFile>; users: number; forgotten: boolean };

export class IdleHandles {
  readonly #open: (key: string) => Promise<OpenFile>;
  /** The least recently used come first. Those in use are as many as their callers are. */
  readonly #handles = new Map<string, Handle>();
  readonly #closing = new Set<Promise<void>>();

  constructor(open: (key: string) => Promise<OpenFile>) {
    this.#open = open;
  }

  /** Runs `work` on the open file, which stays open for the next one where there is room. */
  async use<T>(key: string, work: (file: OpenFile) => Promise<T>): Promise<T> {
    const handle = this.#take(key);
    try {
      return await work(await handle.opening);
    } finally {
      handle.users--;
      if (handle.forgotten) this.#closeIfIdle(handle);
      else this.#trim(IDLE_HANDLES_MAX);
    }
  }

  /** The next use opens the file anew, or finds that it is gone. */
  forget(key: string): void {
    const handle = this.#handles.get(key);
    if (handle === undefined) return;
    this.#handles.delete(key);
    handle.forgotten = true;
    this.#closeIfIdle(handle);
  }

  /** Every use must have ended. */
  async close(): Promise<void> {
    this.#trim(0);
    await Promise.all(this.#closing);
  }

  #take(key: string): Handle {
    let handle = this.#handles.get(key);
    if (handle === undefined) {
      handle = { opening: this.#open(key), users: 0, forgotten: false };
      const opened = handle;
      opened.opening.catch(() => {
        if (this.#handles.get(key) === opened) this.#handles.delete(key);
      });
    } else this.#handles.delete(key); // And in again below, as the most recent.
    this.#handles.set(key, handle);
    handle.users++;
    return handle;
  }

  #trim(idleMax: number): void {
    for (const [key, handle] of this.#handles) {
      if (this.#handles.size <= idleMax) return;
      if (handle.users > 0) continue;
      this.#handles.delete(key);
      this.#closeIfIdle(handle);
    }
  }

  #closeIfIdle(handle: Handle): void {
    if (handle.users > 0) return;
    // Nothing was written through it: neither a failed opening nor a failed closing loses anything.
    const closing = handle.opening
      .then((file) => file.close())
      .catch(() => undefined)
      .finally(() => this.#closing.delete(closing));
    this.#closing.add(closing);
  }
}
