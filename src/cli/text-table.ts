/** A table for people: columns as wide as their widest cell, numbers to the right. */
import { plainCell } from './plain-text.ts';

export type Column = { readonly title: string; readonly align?: 'left' | 'right' };

/** Lines without a trailing newline; cells are text already. */
export function textTable(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
): string {
  const widths = columns.map(({ title }) => title.length);
  const cells = rows.map((row) =>
    row.map((text, column) => {
      const cell = plainCell(text);
      if (cell.length > widths[column]!) widths[column] = cell.length;
      return cell;
    }),
  );
  const lineOf = (row: readonly string[]) =>
    columns
      .map(({ align }, column) => {
        const cell = row[column] ?? '';
        return align === 'right' ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!);
      })
      .join('  ')
      .trimEnd();
  return [columns.map(({ title }) => title), ...cells].map(lineOf).join('\n');
}
