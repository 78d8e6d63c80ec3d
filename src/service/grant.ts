/** Grant: what one agent may do here, as whoever runs the provider has said. */
import type { Right } from '../transfer/replicate/index.ts';

/** What is absent follows the provider's defaults. */
export type Grant = {
  /** Whose repository its volumes go to; absent: that of `--repo`. */
  readonly tenant?: string;
  readonly rights?: readonly Right[];
  /** Names of volumes; `*` stands for any letters. */
  readonly volumes?: readonly string[];
  readonly volumesMax?: number;
  readonly logicalBytesMax?: number;
  readonly storedBytesMax?: number;
  readonly bytesPerS?: number;
  /** `22:00-06:00`, by the provider's clock: data is taken in these hours only. */
  readonly window?: string;
};

export type Window = { readonly fromMinute: number; readonly toMinute: number };

const PATTERNS_MAX = 100;
const WINDOW = /^([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)$/;
export const WINDOW_FORM = 'hours such as 22:00-06:00';

/** Undefined if it is none. Both ends alike: the whole day. */
export function parseWindow(text: string): Window | undefined {
  const match = WINDOW.exec(text);
  if (match === null) return undefined;
  const [fromHour, fromMinutes, toHour, toMinutes] = match.slice(1).map(Number);
  return { fromMinute: fromHour! * 60 + fromMinutes!, toMinute: toHour! * 60 + toMinutes! };
}

/** `wallMs` by the host's own time zone. */
export function isWithin({ fromMinute, toMinute }: Window, wallMs: number): boolean {
  const time = new Date(wallMs);
  const minute = time.getHours() * 60 + time.getMinutes();
  if (fromMinute < toMinute) return minute >= fromMinute && minute < toMinute;
  return minute >= fromMinute || minute < toMinute;
}

/** Whether a name is one of those that a list of patterns names. */
export function names(patterns: readonly string[], name: string): boolean {
  return patterns.some((pattern) => {
    const parts = pattern.split('*');
    if (parts.length === 1) return pattern === name;
    return fits(parts, name);
  });
}

/** What stands between stars, each at the first place behind the one before. */
function fits(parts: readonly string[], name: string): boolean {
  const first = parts[0]!;
  const last = parts.at(-1)!;
  if (!name.startsWith(first) || !name.endsWith(last)) return false;
  let at = first.length;
  for (const part of parts.slice(1, -1)) {
    const found = name.indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  return at <= name.length - last.length;
}

export function isGrant(value: unknown): value is Grant {
  if (typeof value !== 'object' || value === null) return false;
  const { tenant, rights, volumes, window, ...numbers } = value as Record<string, unknown>;
  const { volumesMax, logicalBytesMax, storedBytesMax, bytesPerS, ...others } = numbers;
  const bounds = [volumesMax, logicalBytesMax, storedBytesMax, bytesPerS];
  return (
    Object.keys(others).length === 0 &&
    bounds.every((bound) => bound === undefined || isBound(bound)) &&
    (tenant === undefined || typeof tenant === 'string') &&
    (rights === undefined || isListOf(rights, (right) => right === 'read' || right === 'write')) &&
    (volumes === undefined || isListOf(volumes, (name) => typeof name === 'string')) &&
    (window === undefined || (typeof window === 'string' && parseWindow(window) !== undefined))
  );
}

function isBound(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isListOf(value: unknown, isOne: (one: unknown) => boolean): boolean {
  return Array.isArray(value) && value.length <= PATTERNS_MAX && value.every(isOne);
}
