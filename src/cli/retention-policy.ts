/** `--keep-...` as a retention policy. */
import type { RetentionPolicy } from '../store/index.ts';
import type { Values } from './spec.ts';
import type { keepOptions } from './table/retention.ts';

type KeepValues = Values<{
  readonly name: '';
  readonly summary: '';
  readonly arguments: Readonly<Record<never, never>>;
  readonly options: typeof keepOptions;
  readonly examples: readonly [];
}>;

export function policyOf(values: KeepValues): RetentionPolicy {
  return {
    last: values.keepLast,
    hourly: values.keepHourly,
    daily: values.keepDaily,
    weekly: values.keepWeekly,
    monthly: values.keepMonthly,
    yearly: values.keepYearly,
    within: values.keepWithin,
  };
}
