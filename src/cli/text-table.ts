/** A table for people: columns as wide as their widest cell, numbers to the right. */

export type Column = { readonly title: string; readonly align?: 'left' | 'right' };

/** Lines without a trailing newline; cells are text already. */
export function textTable(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
): string {
  const titles = columns.map((column) => column.title);
  const widths = titles.map((title, index) =>
    rows.reduce((width, row) => Math.max(width, row[index]?.length ?? 0), title.length),
  );
  return [titles, ...rows]
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
