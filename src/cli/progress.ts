/** Progress of one long step: a bar with rate and time left, or sparse reports, or silence. */
import type { Clock } from '../core/index.ts';
import { formatDuration, formatPercent, formatRate, formatSize } from './sizes.ts';

/** A bar that moves more often than this only costs time. */
const DRAW_INTERVAL_MS = 100;
const REPORT_INTERVAL_MS = 1000;
/** The rate is that of about the last five seconds, so that a slow start is soon forgotten. */
const RATE_WINDOW_MS = 5000;

export type ProgressOptions = {
  readonly label: string;
  /** 0 if unknown: no share and no time left then. */
  readonly totalBytes: number;
  readonly clock: Clock;
  /** Draws a line over itself on a terminal that is `columns()` wide. */
  readonly draw?: (text: string) => void;
  readonly columns?: () => number;
  /** Takes a report for programs. */
  readonly report?: (fields: Readonly<Record<string, unknown>>) => void;
};

export interface Progress {
  /** Cheap; may be called per chunk. Never goes back. */
  update(doneBytes: number): void;
  /** Clears the bar so that something else can be printed; the next update draws it again. */
  hide(): void;
  /** Clears it for good. Twice is harmless. */
  finish(): void;
  /** Where it stands, for SIGUSR1. */
  state(): { fields: Readonly<Record<string, unknown>>; text: string };
}

export function progressBar(options: ProgressOptions): Progress {
  const { label, totalBytes, clock, draw, columns, report } = options;
  const startMs = clock.monotonicMs();
  const intervalMs = report === undefined ? DRAW_INTERVAL_MS : REPORT_INTERVAL_MS;
  let doneBytes = 0;
  let window = { atMs: startMs, doneBytes: 0 };
  let previousWindow = window;
  let nextMs = startMs + intervalMs;
  let isShown = false;
  let isFinished = false;

  function rateBytesPerS(nowMs: number): number {
    if (nowMs - window.atMs > RATE_WINDOW_MS) {
      previousWindow = window;
      window = { atMs: nowMs, doneBytes };
    }
    const spanMs = nowMs - previousWindow.atMs;
    return spanMs <= 0 ? 0 : ((doneBytes - previousWindow.doneBytes) * 1000) / spanMs;
  }

  function state() {
    const nowMs = clock.monotonicMs();
    const rate = Math.round(rateBytesPerS(nowMs));
    const leftMs =
      totalBytes > 0 && rate > 0 ? ((totalBytes - doneBytes) * 1000) / rate : undefined;
    const fields = {
      step: label,
      doneBytes,
      ...(totalBytes > 0 ? { totalBytes } : {}),
      rateBytesPerS: rate,
      elapsedMs: Math.round(nowMs - startMs),
      ...(leftMs === undefined ? {} : { leftMs: Math.round(leftMs) }),
    };
    const parts = [label, formatSize(doneBytes)];
    if (totalBytes > 0) {
      parts.push(`of ${formatSize(totalBytes)} (${formatPercent(doneBytes, totalBytes)})`);
    }
    parts.push(formatRate(rate));
    if (leftMs !== undefined) parts.push(`${formatDuration(leftMs)} left`);
    return { fields, text: parts.join('  '), share: totalBytes > 0 ? doneBytes / totalBytes : 0 };
  }

  function drawNow(): void {
    const { text, share } = state();
    const width = columns?.() ?? 80;
    const barWidth = totalBytes > 0 ? Math.min(30, width - text.length - 4) : 0;
    const filled = Math.round(barWidth * Math.min(1, share));
    const bar = barWidth < 5 ? '' : `[${'#'.repeat(filled)}${'.'.repeat(barWidth - filled)}] `;
    draw?.(`\r${`${bar}${text}`.slice(0, Math.max(0, width - 1))}\x1b[K`);
    isShown = true;
  }

  function hide(): void {
    if (!isShown) return;
    isShown = false;
    draw?.('\r\x1b[K');
  }

  return {
    update(bytes) {
      doneBytes = Math.max(doneBytes, bytes);
      if (isFinished || (draw === undefined && report === undefined)) return;
      const nowMs = clock.monotonicMs();
      if (nowMs < nextMs) return;
      nextMs = nowMs + intervalMs;
      if (report === undefined) drawNow();
      else report(state().fields);
    },
    hide,
    finish() {
      isFinished = true;
      hide();
    },
    state,
  };
}
