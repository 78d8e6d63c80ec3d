/**
 * Kernel: the doors of Linux through which a device becomes a file or a disk of this host.
 *
 * It stands beside Env, since a simulated world has no kernel; what is decided with its bytes is
 * pure and lies above. Every failure is an EnvError.
 */
import type { FileDone, Stream } from './env.ts';

export interface Kernel {
  /** Mounts a FUSE file system over an existing file or directory. */
  mountFuse(path: string, options: FuseOptions): Promise<FuseMount>;
  /** A generic netlink socket. ENV_UNSUPPORTED where there is none. */
  openNetlink(): Netlink;
  /** The socket of a stream as a descriptor, to be closed with `closeSocket`; the stream ends. */
  takeSocket(stream: Stream): number;
  /** Two sockets connected to each other; `peer` names in errors who gets the other end. */
  openSocketPair(peer: string): SocketPair;
  /** The kernel keeps a socket that it was handed. */
  closeSocket(descriptor: number): void;
  /** Whether the block device is mounted, held by another driver or opened exclusively. */
  isBusy(path: string): Promise<boolean>;
  /** User and group of this process, who own what it shows. */
  owner(): { readonly userId: number; readonly groupId: number };
  /** Ends a FUSE mount of another process, or a dead one. */
  unmountFuse(path: string): Promise<void>;
}

/** The descriptor is the caller's to hand on and to close with `closeSocket`. */
export type SocketPair = { readonly stream: Stream; readonly descriptor: number };

export type FuseOptions = {
  /** Shown in the table of mounts. */
  readonly source: string;
  readonly readOnly: boolean;
  /** Users beside the one who mounts may use it; root always may if root mounts. */
  readonly allowOther: boolean;
};

/** `clean` fails while it is in use, `lazy` hides it until nobody does, `forced` breaks it off. */
export type UnmountKind = 'clean' | 'lazy' | 'forced';

export interface FuseMount {
  /** Whether what is mounted over is a directory; the file then needs a name in it. */
  readonly isDirectory: boolean;
  /** The next request, whole, into `target`; one call at a time. ENV_CLOSED after the end. */
  read(target: Uint8Array, done: FileDone): void;
  /** One reply, whole. False if nobody waits for it any more. */
  write(reply: Uint8Array): boolean;
  /** False if `clean` found it in use. */
  unmount(kind: UnmountKind): Promise<boolean>;
  /** Lets go; what is mounted still then breaks. */
  close(): void;
}

/** Messages of generic netlink, whole, with their netlink headers. */
export interface Netlink {
  send(message: Uint8Array): void;
  /** What has come, or undefined if nothing has; does not wait. */
  receive(): Uint8Array | undefined;
  /** Like `receive`, and waits up to a second, which keeps the process alive. */
  receiveSoon(): Promise<Uint8Array | undefined>;
  /** Hears what is sent to a multicast group. */
  join(group: number): void;
  close(): void;
}
