/** A table for people: columns as wide as their widest cell, numbers to the right. */
import { plainCell } from './plain-text.ts';

export type Column = { readonly title: string; readonly align?: 'left' | 'right' };

/** Lines without a trailing newline; cells are text already. */
export function textTable(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
): string {
  const titles = columns.map((column) => column.title);
  const cells = rows.map((row) => row.map(plainCell));
  const widths = titles.map((title, index) =>
    cells.reduce((width, row) => Math.max(width, row[index]?.length ?? 0), title.length),
  );
  return [titles, ...cells]
    .map((row) =>
      columns
        .map(({ align }, index) => {
          const cell = row[index] ?? '';
          return align === 'right' ? cell.padStart(widths[index]!) : cell.padEnd(widths[index]!);
        })
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
