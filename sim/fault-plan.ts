/** Which calls of a disk fail: the Nth of a kind, with a code, before or after taking effect. */
import type { EnvErrorCode } from '../src/core/index.ts';

export type DiskOperation =
  | 'open'
  | 'close'
  | 'stat'
  | 'list'
  | 'make-directory'
  | 'link'
  | 'rename'
  | 'remove'
  | 'remove-directory'
  | 'sync-directory'
  | 'lock'
  | 'read'
  | 'write'
  | 'sync'
  | 'truncate'
  | 'punch-hole';

export type Fault = {
  /** Which of the matching calls, from now on, counted from 1. */
  readonly number: number;
  readonly code: EnvErrorCode;
  /** Only calls of this kind are counted; every kind if absent. */
  readonly operation?: DiskOperation;
  /** Only calls whose path contains this are counted. */
  readonly pathPart?: string;
  /** The call takes effect, then its answer is an error all the same. */
  readonly applied?: boolean;
  /** Every later matching call fails too. */
  readonly lasting?: boolean;
};

export type PlantedFault = {
  /** How many matching calls there were. */
  readonly callCount: number;
  /** Whether the fault was ever met; a test whose fault was not met has shown nothing. */
  readonly met: boolean;
};

export type Verdict = { readonly code: EnvErrorCode; readonly applied: boolean };

export class FaultPlan {
  readonly #planted: { fault: Fault; callCount: number; met: boolean }[] = [];

  inject(fault: Fault): PlantedFault {
    const planted = { fault, callCount: 0, met: false };
    this.#planted.push(planted);
    return planted;
  }

  /** Counts one call; undefined lets it pass. */
  judge(operation: DiskOperation, path: string): Verdict | undefined {
    let verdict: Verdict | undefined;
    for (const planted of this.#planted) {
      const { fault } = planted;
      if (fault.operation !== undefined && fault.operation !== operation) continue;
      if (fault.pathPart !== undefined && !path.includes(fault.pathPart)) continue;
      planted.callCount++;
      const due =
        planted.callCount === fault.number ||
        (fault.lasting === true && planted.callCount > fault.number);
      if (!due) continue;
      planted.met = true;
      verdict ??= { code: fault.code, applied: fault.applied === true };
    }
    return verdict;
  }
}
