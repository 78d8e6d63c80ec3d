/** Requests and their answers: JSON in METADATA, beside the facts that they are about. */
import { FerryError, isHex, SHA256_BYTES } from '../../core/index.ts';
import {
  type ChangedRun,
  changesFact,
  changesOf,
  decodeMetadata,
  encodeMetadata,
  FACT_BLOCKS,
  FACT_CHANGES,
  FACT_GEOMETRY,
  FACT_NAME,
  FACT_REQUEST,
  type Fact,
  type Geometry,
  geometryFact,
  geometryOf,
  nameFact,
  nameOf,
} from '../../wire/index.ts';
import { type EpochGroup, isEpochGroup } from './epoch-group.ts';
import { protocolBreach } from './errors.ts';
import {
  BLOCK_BYTES,
  GROUP_MEMBERS_MAX,
  HOPS_MAX,
  OFFER_BYTES,
  REQUEST_BYTES_MAX,
} from './limits.ts';

/** Of the agent. `request` is its choice; the answer repeats it. */
export type Request =
  /** With FACT_NAME and FACT_GEOMETRY: opens a volume under the message's number. */
  | {
      readonly request: number;
      readonly ask: 'open';
      /** Under which the agent writes, or wrote. */
      readonly authority: number;
      /** The agent stops when it was not answered for so long; 0: it does not. */
      readonly leaseMs: number;
      /** The providers by which it has come, by their fingerprints, the nearest one last. */
      readonly via?: readonly string[];
      /** Its epochs are committed with those of the others that this session opens. */
      readonly group?: EpochGroup | undefined;
    }
  /** The hashes of units in an epoch that is the present one: OFFER_BYTES, or BLOCK_BYTES. */
  | {
      readonly request: number;
      readonly ask: 'hashes';
      readonly epoch: number;
      readonly offsetBytes: number;
      readonly count: number;
      readonly unitBytes: number;
    }
  /** The agent was told of a later epoch than is there: it is another replica from here on. */
  | { readonly request: number; readonly ask: 'renew'; readonly epoch: number }
  /** A snapshot of the present epoch. */
  | { readonly request: number; readonly ask: 'snapshot' }
  /** The agent is there: no promotion without it before its lease has run out. */
  | { readonly request: number; readonly ask: 'lease' }
  /** Of a promoted volume: it stops, and what is there is read by `hashes` and READ. */
  | { readonly request: number; readonly ask: 'reverse' }
  /** What was written to it since it was promoted, from there on: FACT_CHANGES. */
  | { readonly request: number; readonly ask: 'changes'; readonly offsetBytes: number }
  /** It is offered: AUTHORITY_PREPARE follows. */
  | { readonly request: number; readonly ask: 'offer' }
  /** Of the provider, without an answer: that the agent should offer its volume. */
  | { readonly request: number; readonly ask: 'move' };

/** Fields that are whole numbers, for each of them. */
const NUMBERS: Readonly<Record<Request['ask'], readonly string[]>> = {
  open: ['authority', 'leaseMs'],
  hashes: ['epoch', 'offsetBytes', 'count'],
  changes: ['offsetBytes'],
  renew: ['epoch'],
  ...{ snapshot: [], lease: [], reverse: [], offer: [], move: [] },
};

export type Refusal = { readonly code: string; readonly message: string; readonly hint: string };

export type OpenAnswer = {
  readonly replica: string;
  readonly epoch: number;
  readonly seenEpoch: number;
  /** Nothing was ever sent: all of it is zero. */
  readonly isEmpty: boolean;
  /** Under which it is written there, or by its agent. */
  readonly authority: number;
  /** The provider writes, since this epoch. */
  readonly promotedEpoch?: number;
  /** There; what is promoted keeps its size, whatever the agent's volume has. */
  readonly sizeBytes?: number;
  /** As the EPOCH_CUT of that epoch had it. */
  readonly mark?: string;
  /** With which that epoch was committed. */
  readonly group?: EpochGroup;
};

export type SnapshotAnswer = {
  readonly snapshot: string;
  readonly digest: string;
  readonly storedBytes: number;
};

export type ReverseAnswer = {
  readonly authority: number;
  /** The last one that both sides had, and the one that what is there will be. */
  readonly epoch: number;
  readonly nextEpoch: number;
  readonly digest: string;
  readonly snapshot: string;
};

export type Answer = {
  readonly answer: number;
  readonly ask?: undefined;
  readonly refusal?: Refusal;
  readonly [field: string]: unknown;
};

export type Told = {
  readonly volume: number;
  readonly json: Request | Answer;
  readonly name: string | undefined;
  readonly geometry: Geometry | undefined;
  readonly hashes: Uint8Array | undefined;
  readonly changes: readonly ChangedRun[] | undefined;
};

export type TellOptions = {
  readonly volume: number;
  readonly json: Request | Answer;
  readonly name?: string;
  readonly geometry?: Geometry;
  readonly hashes?: Uint8Array;
  readonly changes?: readonly ChangedRun[];
};

export function encodeTold({ volume, json, ...more }: TellOptions): Uint8Array {
  const bytes = new TextEncoder().encode(JSON.stringify(json));
  const facts: Fact[] = [{ tag: FACT_REQUEST, bytes }];
  const { name, geometry, hashes, changes } = more;
  if (name !== undefined) facts.push(nameFact(name));
  if (geometry !== undefined) facts.push(geometryFact(geometry));
  if (hashes !== undefined) facts.push({ tag: FACT_BLOCKS, bytes: hashes });
  if (changes !== undefined) facts.push(changesFact(changes));
  return encodeMetadata({ volume, epoch: 0, facts });
}

/** REPLICATE_PROTOCOL if there is no request or answer in it. */
export function decodeTold(body: Uint8Array): Told {
  const { volume, facts } = decodeMetadata(body);
  const find = (tag: number) => facts.find((fact) => fact.tag === tag);
  const request = find(FACT_REQUEST);
  if (request === undefined || request.bytes.byteLength > REQUEST_BYTES_MAX) {
    throw protocolBreach('METADATA without a request that can be read');
  }
  const name = find(FACT_NAME);
  const geometry = find(FACT_GEOMETRY);
  const changes = find(FACT_CHANGES);
  return {
    volume,
    json: jsonOf(request.bytes),
    name: name && nameOf(name),
    geometry: geometry && geometryOf(geometry),
    hashes: find(FACT_BLOCKS)?.bytes.slice(),
    changes: changes && changesOf(changes),
  };
}

/** For whoever asked: what went wrong, without paths of this host. */
export function refusalOf(error: unknown): Refusal {
  if (!(error instanceof FerryError)) throw error;
  const { code, hint } = error;
  return { code, message: withoutPaths(error.message), hint };
}

/** Paths say nothing to the other side, and something about this one. */
export function withoutPaths(text: string): string {
  return text.replace(/(^|\s)\/\S+/g, '$1(a file)');
}

function jsonOf(bytes: Uint8Array): Request | Answer {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    throw protocolBreach('a request is not JSON');
  }
  if (typeof value !== 'object' || value === null) throw protocolBreach('a request is no object');
  const { answer, request, ask } = value as Record<string, unknown>;
  if (Number.isSafeInteger(answer)) return value as Answer;
  if (!Number.isSafeInteger(request)) throw protocolBreach('a request has no number');
  const fields = NUMBERS[ask as Request['ask']];
  if (fields === undefined) {
    throw protocolBreach(`a request asks for ${JSON.stringify(ask)?.slice(0, 40)}`);
  }
  const numbers = fields.map((field) => [field, numberOf(value, field)]);
  const all = { request, ask, ...Object.fromEntries(numbers) };
  if (ask === 'open') return { ...all, via: viaOf(value), group: groupOf(value) } as Request;
  return (ask === 'hashes' ? { ...all, unitBytes: unitOf(value) } : all) as Request;
}

function numberOf(value: object, field: string): number {
  const number = (value as Record<string, unknown>)[field];
  if (Number.isSafeInteger(number) && (number as number) >= 0) return number as number;
  throw protocolBreach(`a request whose ${field} is no number`);
}

/** Agents that do not know blocks ask for chunks. */
function unitOf({ unitBytes = OFFER_BYTES }: { readonly unitBytes?: unknown }): number {
  if (unitBytes === OFFER_BYTES || unitBytes === BLOCK_BYTES) return unitBytes;
  throw protocolBreach(`hashes of units of ${unitBytes} bytes`);
}

function viaOf({ via = [] }: { readonly via?: unknown }): readonly string[] {
  const isList = Array.isArray(via) && via.length <= HOPS_MAX;
  if (isList && via.every((one) => typeof one === 'string' && isHex(one, SHA256_BYTES))) return via;
  throw protocolBreach(`a volume that has come by over ${HOPS_MAX} providers, or by none`);
}

function groupOf({ group }: { readonly group?: unknown }): EpochGroup | undefined {
  if (group === undefined) return undefined;
  if (isEpochGroup(group)) return { name: group.name, members: group.members };
  throw protocolBreach(`a group without ordered names, or of over ${GROUP_MEMBERS_MAX} volumes`);
}
