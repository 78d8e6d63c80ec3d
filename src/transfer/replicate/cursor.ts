/** What a tracker's cursor for a provider is called, and what it is bound to. */
import type { Since } from '../../track/index.ts';

/** What a provider has of a volume. */
export type Held = {
  readonly replica: string;
  readonly epoch: number;
  /** The agent's own name for the cut that it was made from. */
  readonly mark?: string | undefined;
};

/** Replicas keep no digest of each epoch: the number says it all. */
const NO_DIGEST = '00'.repeat(32);

export function consumerOf({ replica }: Pick<Held, 'replica'>, volume: string): string {
  return `provider:${replica}:${volume}`;
}

/** Whether that is one of the volume's, of whichever replica. */
export function isConsumerOf(consumer: string, volume: string): boolean {
  return consumer.startsWith('provider:') && consumer.endsWith(`:${volume}`);
}

/** Undefined before the first epoch: nothing is known of what is there. */
export function sinceOf({ replica, epoch, mark }: Held): Since | undefined {
  return epoch === 0 ? undefined : { ...bindingOf({ replica, epoch }), mark };
}

/** An epoch of a replica, in the place of a snapshot. */
export function bindingOf({ replica, epoch }: Held): { id: string; digest: string } {
  return { id: `${replica}:${epoch}`, digest: NO_DIGEST };
}

/** Of such a place. */
export function epochOf(id: string | null | undefined): number | undefined {
  const epoch = Number(id?.split(':')[1]);
  return Number.isSafeInteger(epoch) ? epoch : undefined;
}
