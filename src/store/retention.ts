/** Which snapshots of a volume a retention policy keeps, and why. Pure: no clock is read. */
import type { Period } from '../core/index.ts';
import type { Snapshot } from './snapshot.ts';

/** Counts may be Infinity; what is absent keeps nothing. */
export type RetentionPolicy = {
  /** The newest so many. */
  readonly last?: number | undefined;
  /** The newest of each of the newest so many hours, days ... that have a snapshot, in UTC. */
  readonly hourly?: number | undefined;
  readonly daily?: number | undefined;
  /** Weeks begin on Monday. */
  readonly weekly?: number | undefined;
  readonly monthly?: number | undefined;
  readonly yearly?: number | undefined;
  /** Everything that is at most so much older than the newest snapshot. */
  readonly within?: Period | undefined;
  /** Everything with one of these tags. */
  readonly tags?: readonly string[] | undefined;
};

/** Without reasons a snapshot is to be forgotten. */
export type Kept = { readonly snapshot: Snapshot; readonly reasons: readonly string[] };

type Bucket = {
  readonly name: 'hourly' | 'daily' | 'weekly' | 'monthly' | 'yearly';
  of(time: Date): string;
};

/** An ISO 8601 time in UTC begins like this. */
const buckets: readonly Bucket[] = [
  { name: 'hourly', of: (time) => time.toISOString().slice(0, 13) },
  { name: 'daily', of: (time) => time.toISOString().slice(0, 10) },
  { name: 'weekly', of: mondayOf },
  { name: 'monthly', of: (time) => time.toISOString().slice(0, 7) },
  { name: 'yearly', of: (time) => time.toISOString().slice(0, 4) },
];

/** The day on which the time's week began. */
function mondayOf(time: Date): string {
  const sinceMonday = (time.getUTCDay() + 6) % 7;
  const day = Date.UTC(time.getUTCFullYear(), time.getUTCMonth(), time.getUTCDate() - sinceMonday);
  return new Date(day).toISOString().slice(0, 10);
}

export function isEmptyPolicy(policy: RetentionPolicy): boolean {
  const { within, tags = [], ...counts } = policy;
  return within === undefined && tags.length === 0 && Object.values(counts).every((n) => !n);
}

/**
 * `snapshots` are those of one volume in the order of the log, which is what newer means here: a
 * clock that went back changes in which hour a snapshot counts, not which one is the newest. The
 * answer is in the same order. What is held is kept in any case.
 */
export function retention(snapshots: readonly Snapshot[], policy: RetentionPolicy): Kept[] {
  const seen = new Map(buckets.map(({ name }) => [name, new Set<string>()]));
  const since = policy.within && before(newestTime(snapshots), policy.within);
  const kept: Kept[] = [];
  for (const [age, snapshot] of snapshots.toReversed().entries()) {
    const reasons: string[] = [];
    if (age < (policy.last ?? 0)) reasons.push('last');
    const time = timeOf(snapshot);
    for (const { name, of } of buckets) {
      const known = seen.get(name)!;
      const bucket = of(time);
      if (known.size >= (policy[name] ?? 0) || known.has(bucket)) continue;
      known.add(bucket);
      reasons.push(name);
    }
    if (since !== undefined && time.getTime() >= since) reasons.push('within');
    for (const tag of policy.tags ?? [])
      if (snapshot.tags.includes(tag)) reasons.push(`tag ${tag}`);
    if (snapshot.held) reasons.push('held');
    kept.push({ snapshot, reasons });
  }
  return kept.reverse();
}

/** A snapshot whose time makes no sense counts as very old. */
function timeOf({ time }: Snapshot): Date {
  const parsed = new Date(time);
  return Number.isNaN(parsed.getTime()) ? new Date(0) : parsed;
}

function newestTime(snapshots: readonly Snapshot[]): Date {
  return new Date(Math.max(0, ...snapshots.slice(-1).map((each) => timeOf(each).getTime())));
}

/** By the calendar: a month before 31 March is 28 or 29 February. */
function before(time: Date, { years, months, days, hours }: Period): number {
  const month = time.getUTCMonth() - months;
  const year = time.getUTCFullYear() - years;
  const daysInMonth = new Date(Date.UTC(year, month + 1, 0)).getUTCDate();
  const day = Math.min(time.getUTCDate(), daysInMonth);
  const date = Date.UTC(year, month, day - days, time.getUTCHours() - hours);
  return date + (time.getTime() % 3_600_000);
}
