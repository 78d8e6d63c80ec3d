/** A table for people: columns as wide as their widest cell, numbers to the right. */
import { plainCell } from './plain-text.ts';

export type Column = { readonly title: string; readonly align?: 'left' | 'right' };

/** Lines without a trailing newline; cells are text already. */
export function textTable(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
): string {
  return [...tableLines(columns, rows, (row) => row)].join('\n');
}

/**
 * The same line by line. Cells are asked for twice: to keep those of very many rows from the first
 * time, when the widths are found, would take longer.
 */
export function* tableLines<Row>(
  columns: readonly Column[],
  rows: readonly Row[],
  cellsOf: (row: Row) => readonly string[],
): Generator<string> {
  const widths = columns.map(({ title }) => title.length);
  for (const row of rows) {
    for (const [column, text] of cellsOf(row).entries()) {
      widths[column] = Math.max(widths[column]!, plainCell(text).length);
    }
  }
  const lineOf = (row: readonly string[]): string => {
    let line = '';
    for (const [column, { align }] of columns.entries()) {
      const cell = plainCell(row[column] ?? '');
      const width = widths[column]!;
      if (column > 0) line += '  ';
      line += align === 'right' ? cell.padStart(width) : cell.padEnd(width);
    }
    return line.trimEnd();
  };
  yield lineOf(columns.map(({ title }) => title));
  for (const row of rows) yield lineOf(cellsOf(row));
}
