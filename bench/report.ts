/** Figures of a benchmark: samples per round, their medians, a table for people or JSON lines. */

/** One measured claim. */
export type Figure = {
  readonly bench: string;
  readonly case: string;
  readonly subject: string;
  readonly metric: string;
  readonly value: number;
  readonly unit: string;
};

/** Where a figure belongs; `better` says in which direction a ratio is good. */
export type Sample = Omit<Figure, 'bench'> & { readonly better: 'less' | 'more' };

/** The subject that peers are compared with. */
export const OWN_SUBJECT = 'blockferry';

export class Report {
  readonly bench: string;
  readonly #samples: Sample[] = [];
  readonly #absent = new Map<string, string>();
  readonly #notes: string[] = [];

  constructor(bench: string) {
    this.bench = bench;
  }

  add(sample: Sample): void {
    this.#samples.push(sample);
  }

  /** A subject that could not be run, and why: it is named, never left out in silence. */
  absent(subject: string, reason: string): void {
    this.#absent.set(subject, reason);
  }

  /** What a reader must know about how it was measured. */
  note(text: string): void {
    this.#notes.push(text);
  }

  /** Medians, in the order in which the cases, metrics and subjects first came. */
  figures(): Figure[] {
    return this.#grouped().map(({ samples: [first, ...rest] }) => {
      const { better: _, value, ...where } = first;
      return { bench: this.bench, ...where, value: median([value, ...rest.map((s) => s.value)]) };
    });
  }

  jsonLines(): string {
    const absent = [...this.#absent].map(([subject, reason]) => ({
      bench: this.bench,
      subject,
      absent: reason,
    }));
    return [...this.figures(), ...absent].map((line) => `${JSON.stringify(line)}\n`).join('');
  }

  /** One row per case and metric, one column per subject, our ratio to the best peer at the end. */
  table(): string {
    const figures = this.figures();
    const subjects = [...new Set(figures.map(({ subject }) => subject))];
    const rows = Map.groupBy(figures, (figure) => `${figure.case}\0${figure.metric}`);
    const lines = [...rows.values()].map((row) => {
      const [{ case: name, metric, unit }] = row as [Figure];
      const cells = subjects.map((subject) => {
        const found = row.find((figure) => figure.subject === subject);
        return found === undefined ? '-' : threeDigits(found.value);
      });
      return [name, `${metric} (${unit})`, ...cells, this.#ratio(row)];
    });
    const titles = ['CASE', 'METRIC', ...subjects, 'RATIO TO BEST PEER'];
    const rounds = Math.max(0, ...this.#grouped().map(({ samples }) => samples.length));
    return [
      `${this.bench}: medians of ${rounds} rounds`,
      aligned([titles, ...lines]),
      ...[...this.#absent].map(([subject, reason]) => `absent: ${subject} (${reason})`),
      ...this.#notes,
    ].join('\n');
  }

  #grouped(): { samples: [Sample, ...Sample[]] }[] {
    const key = (sample: Sample) => `${sample.case}\0${sample.metric}\0${sample.subject}`;
    const groups = Map.groupBy(this.#samples, key);
    return [...groups.values()].map((samples) => ({ samples: samples as [Sample, ...Sample[]] }));
  }

  #ratio(row: readonly Figure[]): string {
    const own = row.find(({ subject }) => subject === OWN_SUBJECT);
    const peers = row.filter(({ subject }) => subject !== OWN_SUBJECT);
    if (own === undefined || peers.length === 0) return '-';
    const { better } = this.#samples.find(
      (sample) => sample.case === own.case && sample.metric === own.metric,
    )!;
    const best = peers.reduce((a, b) => (a.value < b.value === (better === 'less') ? a : b));
    return `${(own.value / best.value).toFixed(2)} (${best.subject}; ${better} is better)`;
  }
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle]!;
  return sorted.length % 2 === 1 ? upper : (sorted[middle - 1]! + upper) / 2;
}

/**
 * Runs every subject once per round, in turn, so that a slow minute of the machine hits all alike;
 * each round begins with another one, so that none always follows the same.
 */
export async function interleave<Subject>(
  subjects: readonly Subject[],
  rounds: number,
  run: (subject: Subject, round: number) => Promise<void>,
): Promise<void> {
  for (let round = 0; round < rounds; round += 1) {
    for (let turn = 0; turn < subjects.length; turn += 1) {
      await run(subjects[(round + turn) % subjects.length]!, round);
    }
  }
}

function threeDigits(value: number): string {
  if (value === 0 || Math.abs(value) >= 100) return value.toFixed(0);
  return value.toFixed(Math.abs(value) >= 10 ? 1 : 2);
}

function aligned(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows
    .map((row) =>
      row
        .map((cell, column) =>
          column < 2 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!),
        )
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
