/** A SQLite database for the demo: filled, and a day later updated page by page. */
import { DatabaseSync } from 'node:sqlite';

const ROWS = 60_000;
/** A quiet day: one row in two hundred, anywhere. */
const UPDATED_ROWS = 300;

/** The page size of SQLite and the block size of ext4, so that a page is a block. */
export const PAGE_BYTES = 4096;

const streets = ['Harbour Road', 'Mill Lane', 'Station Street', 'Old Bridge', 'Lighthouse Way'];

export function makeDatabase(path: string): void {
  const database = new DatabaseSync(path);
  database.exec(`PRAGMA page_size = ${PAGE_BYTES}; PRAGMA synchronous = OFF`);
  database.exec(
    'CREATE TABLE orders (id INTEGER PRIMARY KEY, placed TEXT, customer TEXT, street TEXT,' +
      ' amount INTEGER, state TEXT, token TEXT)',
  );
  const insert = database.prepare('INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?, ?)');
  database.exec('BEGIN');
  for (let id = 1; id <= ROWS; id++) {
    const placed = new Date(1_700_000_000_000 + id * 317_000).toISOString();
    const street = `${1 + (id % 190)} ${streets[id % streets.length]}`;
    const token = scrambled(id).repeat(4);
    insert.run(id, placed, `Customer ${(id * 7919) % 9973}`, street, id % 9000, 'open', token);
  }
  database.exec('COMMIT; CREATE INDEX by_customer ON orders (customer)');
  database.close();
}

/** Updates rows where they lie: no value changes its length, so no page moves. */
export function updateDatabase(path: string): number {
  const database = new DatabaseSync(path);
  database.exec('PRAGMA synchronous = OFF; BEGIN');
  const update = database.prepare("UPDATE orders SET state = 'paid' WHERE id = ?");
  for (let turn = 0; turn < UPDATED_ROWS; turn++) update.run(1 + ((turn * 48_271) % ROWS));
  database.exec('COMMIT');
  database.close();
  return UPDATED_ROWS;
}

/** Counts the rows that were updated, after SQLite has checked the file. */
export function paidOrders(path: string): number {
  const database = new DatabaseSync(path, { readOnly: true });
  const { integrity_check: verdict } = database.prepare('PRAGMA integrity_check').get()!;
  if (verdict !== 'ok') throw new Error(`${path}: ${verdict}`);
  const { paid } = database
    .prepare("SELECT count(*) AS paid FROM orders WHERE state = 'paid'")
    .get()!;
  database.close();
  return Number(paid);
}

/** Digits that do not compress well and are the same in each run. */
function scrambled(seed: number): string {
  return (Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) >>> 0).toString(16).padStart(8, '0');
}
