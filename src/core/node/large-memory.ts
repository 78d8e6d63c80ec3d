/** Has memory of large buffers go back to the system as soon as they are freed. */
import { createRequire } from 'node:module';

/** M_MMAP_THRESHOLD of glibc's mallopt(3): each buffer from this size on has its own pages. */
const OWN_PAGES_FROM = -3;

/** What windows, frames and bodies of messages take; smaller ones come and go too often. */
const LARGE_BYTES = 256 * 1024;

/**
 * By itself glibc raises that bound to the size of what was freed, up to 32 MiB: then large buffers
 * lie among small ones, and what is freed between them stays with the process.
 */
export function returnLargeMemory(): void {
  try {
    const koffi = createRequire(import.meta.url)('koffi') as Koffi;
    koffi.load(null).func('int mallopt(int, int)')(OWN_PAGES_FROM, LARGE_BYTES);
  } catch {
    // Another libc, or no koffi: it takes more memory then.
  }
}

type Koffi = { load(path: null): { func(prototype: string): (...numbers: number[]) => number } };
