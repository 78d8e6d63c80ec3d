/** `--ca` and its friends: a node that an own authority stands behind, instead of pairing. */
import { text, type Values } from './spec.ts';

export const nodeOptions = {
  ca: text('FILE', 'instead of pairing: who signs the certificates of all nodes (PEM)', {
    completes: 'file',
  }),
  cert: text('FILE', "with --ca: this node's certificate, and what leads to --ca (PEM)", {
    completes: 'file',
  }),
  key: text('FILE', "with --ca: the certificate's key (PEM)", { completes: 'file' }),
} as const;

export type NodeValues = Partial<
  Values<{
    readonly name: '';
    readonly summary: '';
    readonly arguments: Readonly<Record<never, never>>;
    readonly options: typeof nodeOptions;
    readonly examples: readonly [];
  }>
>;
