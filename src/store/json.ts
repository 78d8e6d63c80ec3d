/** Checked access to parsed JSON: a field of another type names the object it was found in. */
import { isHex } from '../core/index.ts';
import { damagedObject } from './errors.ts';

export class JsonFields {
  readonly #key: string;
  readonly #fields: Readonly<Record<string, unknown>>;

  constructor(value: unknown, key: string) {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw damagedObject(key, 'an object was expected');
    }
    this.#key = key;
    this.#fields = value as Record<string, unknown>;
  }

  get values(): Readonly<Record<string, unknown>> {
    return this.#fields;
  }

  #wrong(name: string, wanted: string): Error {
    return damagedObject(this.#key, `its field ${name} is not ${wanted}`);
  }

  has(name: string): boolean {
    return this.#fields[name] !== undefined && this.#fields[name] !== null;
  }

  text(name: string): string {
    const value = this.#fields[name];
    if (typeof value !== 'string') throw this.#wrong(name, 'a text');
    return value;
  }

  flag(name: string): boolean {
    const value = this.#fields[name];
    if (typeof value !== 'boolean') throw this.#wrong(name, 'true or false');
    return value;
  }

  /** A safe integer of at least 0. */
  count(name: string): number {
    const value = this.#fields[name];
    if (!Number.isSafeInteger(value) || (value as number) < 0) throw this.#wrong(name, 'a count');
    return value as number;
  }

  /** A power of two from `min` to `max`. */
  power(name: string, min: number, max: number): number {
    const value = this.count(name);
    if (value >= min && value <= max && Number.isInteger(Math.log2(value))) return value;
    throw this.#wrong(name, `a power of two from ${min} to ${max}`);
  }

  /** Lower-case hexadecimal of exactly `lengthBytes`, checked, as text. */
  hex(name: string, lengthBytes: number): string {
    const value = this.text(name);
    if (!isHex(value, lengthBytes)) throw this.#wrong(name, `${lengthBytes} bytes`);
    return value;
  }

  #list(name: string): unknown[] {
    const value = this.#fields[name];
    if (!Array.isArray(value)) throw this.#wrong(name, 'a list');
    return value;
  }

  texts(name: string): string[] {
    const list = this.#list(name);
    if (!list.every((item) => typeof item === 'string')) throw this.#wrong(name, 'texts');
    return list as string[];
  }

  hexes(name: string, lengthBytes: number): string[] {
    const list = this.texts(name);
    if (!list.every((item) => isHex(item, lengthBytes))) throw this.#wrong(name, 'identifiers');
    return list;
  }

  object(name: string): JsonFields {
    return new JsonFields(this.#fields[name], this.#key);
  }

  objects(name: string): JsonFields[] {
    return this.#list(name).map((item) => new JsonFields(item, this.#key));
  }
}
