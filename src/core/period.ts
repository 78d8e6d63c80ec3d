/** Periods of the calendar as people write them: `1y6m`, `2w`, `7d12h`. */

export type Period = {
  readonly years: number;
  readonly months: number;
  readonly days: number;
  readonly hours: number;
};

export const PERIOD_FORM = 'a period such as 12h, 7d, 2w, 6m or 1y6m';

const PERIOD = /^(?:(\d{1,4})y)?(?:(\d{1,5})m)?(?:(\d{1,5})w)?(?:(\d{1,6})d)?(?:(\d{1,7})h)?$/;

/** Undefined if it is none. */
export function parsePeriod(text: string): Period | undefined {
  const match = PERIOD.exec(text);
  if (match === null || text === '') return undefined;
  const [years, months, weeks, days, hours] = match.slice(1).map((part) => Number(part ?? 0));
  return { years: years!, months: months!, days: weeks! * 7 + days!, hours: hours! };
}
