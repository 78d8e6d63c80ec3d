/** A terminal that remembers what was printed, and a clock that a test moves. */
import type { Clock } from '../../core/index.ts';
import type { Terminal } from '../terminal.ts';

export type FakeTerminal = Terminal & {
  out: string;
  err: string;
  /** The lines of `out`, parsed. */
  lines(): Record<string, unknown>[];
};

export function fakeTerminal({ drawsProgress = false } = {}): FakeTerminal {
  const self: FakeTerminal = {
    out: '',
    err: '',
    drawsProgress,
    columns: () => 80,
    write(text) {
      self.out += text;
    },
    writeError(text) {
      self.err += text;
    },
    onOutputClosed() {},
    lines: () =>
      self.out
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line)),
  };
  return self;
}

export type FakeClock = Clock & { nowMs: number };

export function fakeClock(): FakeClock {
  const self: FakeClock = {
    nowMs: 0,
    monotonicMs: () => self.nowMs,
    bootMs: () => self.nowMs,
    wallMs: () => self.nowMs,
    after: () => ({ cancel() {} }),
  };
  return self;
}
