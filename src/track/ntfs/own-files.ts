/** Files of NTFS that others write past its journals: kernel, boot loader, shadow copies. */
import { Bitmap } from '../../core/index.ts';
import {
  ATTRIBUTE,
  FOLDERS_DEEP_MAX,
  fileNameAt,
  type Ntfs,
  type NtfsRecord,
  RECORD,
  RECORDS_OWN,
  type Reference,
  referenceAt,
} from '../../fs/ntfs/index.ts';

/** In folders of the root: copies of overwritten clusters, and what the boot loader keeps. */
const FOLDERS = ['system volume information', 'boot'];
/** Anywhere: paging and dumps, sleep, and what the boot loader notes. */
const FILES = [
  ...['pagefile.sys', 'swapfile.sys', 'dumpstack.log', 'dumpstack.log.tmp', 'memory.dmp'],
  ...['hiberfil.sys', 'bootstat.dat', 'bootsqm.dat', 'bcd'],
];
export const SLEEP_FILE = 'hiberfil.sys';

export type FileName = { readonly parent: Reference; readonly name: string };

/** In small letters. Those that lie in this record; a file's others may lie in another one. */
export function namesOf({ attributes }: NtfsRecord): FileName[] {
  const names: FileName[] = [];
  for (const { type, value } of attributes) {
    if (type !== ATTRIBUTE.fileName || value === undefined) continue;
    names.push({ parent: referenceAt(value, 0), name: fileNameAt(value, 0).toLowerCase() });
  }
  return names;
}

/** Which files are never called unchanged, whatever is known of them. */
export class OwnFiles {
  readonly #ntfs: Ntfs;
  readonly #known: Bitmap;
  readonly #own: Bitmap;

  constructor(ntfs: Ntfs) {
    this.#ntfs = ntfs;
    this.#known = new Bitmap(ntfs.recordCount);
    this.#own = new Bitmap(ntfs.recordCount);
  }

  async has({ parent, name }: FileName): Promise<boolean> {
    return FILES.includes(name) || (await this.#isOwnFolder(parent.record));
  }

  /** Of the file system itself, of the folders above, in one of them, or nobody knows where. */
  async #isOwnFolder(folder: number): Promise<boolean> {
    const path: number[] = [];
    let answer: boolean | undefined;
    for (let at = folder; answer === undefined; ) {
      if (at === RECORD.root) answer = false;
      else if (at < RECORDS_OWN || path.length > FOLDERS_DEEP_MAX) answer = true;
      else if (at >= this.#known.size) answer = true;
      else if (this.#known.test(at)) answer = this.#own.test(at);
      else {
        path.push(at);
        const [up] = namesOf(await this.#ntfs.record(at));
        if (up === undefined) answer = true;
        else if (up.parent.record === RECORD.root && FOLDERS.includes(up.name)) answer = true;
        else at = up.parent.record;
      }
    }
    for (const at of path) {
      this.#known.set(at);
      if (answer) this.#own.set(at);
    }
    return answer;
  }
}
