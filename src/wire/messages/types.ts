/** The numbers of the messages. Below 16: about the session itself, never numbered or resent. */

export const HELLO = 1;
export const HEARTBEAT = 2;
export const ACK = 3;
export const ERROR = 4;
export const GOODBYE = 5;
export const LANE_OFFER = 6;
export const LANE_JOIN = 7;
export const LANE_CLOSE = 8;

/** From here on messages have a number, use credit, and are sent again until acknowledged. */
export const NUMBERED_MIN = 16;
export const METADATA = 16;
export const BLOCK_DATA = 17;
export const BLOCK_REFERENCE = 18;
export const OFFER = 19;
export const NEED = 20;
export const READ = 21;
export const EPOCH_CUT = 22;
export const EPOCH_COMMIT = 23;
export const AUTHORITY_PREPARE = 24;
export const AUTHORITY_COMMIT = 25;
export const AUTHORITY_ABORT = 26;

const names: Readonly<Record<number, string>> = {
  [HELLO]: 'HELLO',
  [HEARTBEAT]: 'HEARTBEAT',
  [ACK]: 'ACK',
  [ERROR]: 'ERROR',
  [GOODBYE]: 'GOODBYE',
  [LANE_OFFER]: 'LANE_OFFER',
  [LANE_JOIN]: 'LANE_JOIN',
  [LANE_CLOSE]: 'LANE_CLOSE',
  [METADATA]: 'METADATA',
  [BLOCK_DATA]: 'BLOCK_DATA',
  [BLOCK_REFERENCE]: 'BLOCK_REFERENCE',
  [OFFER]: 'OFFER',
  [NEED]: 'NEED',
  [READ]: 'READ',
  [EPOCH_CUT]: 'EPOCH_CUT',
  [EPOCH_COMMIT]: 'EPOCH_COMMIT',
  [AUTHORITY_PREPARE]: 'AUTHORITY_PREPARE',
  [AUTHORITY_COMMIT]: 'AUTHORITY_COMMIT',
  [AUTHORITY_ABORT]: 'AUTHORITY_ABORT',
};

export function nameOfType(type: number): string {
  return names[type] ?? `type ${type}`;
}

export function isKnownType(type: number): boolean {
  return names[type] !== undefined;
}
