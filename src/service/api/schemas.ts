/** What the HTTP API takes and answers, as JSON schemas, which also describe it. */

const text = { type: 'string' } as const;
const number = { type: 'number' } as const;
const flag = { type: 'boolean' } as const;
const counts = { type: 'object', additionalProperties: number } as const;
const list = (items: object) => ({ type: 'array', items });
const record = (properties: Readonly<Record<string, object>>) => ({
  ...{ type: 'object', properties, additionalProperties: false },
  required: Object.keys(properties),
});

const problem = record({ volume: text, code: text });
const health = {
  status: { type: 'string', enum: ['ok', 'degraded', 'stopping'] },
  problems: list(problem),
} as const;

const session = record({
  ...{ agent: text, fingerprint: text, tenant: text, state: text, lane: text, laneReason: text },
  ...{ receivedBytes: counts, resentBytes: number, peerBacklogBytes: number },
  ...{ peerLanes: text, roundTripMs: number },
});

const volume = {
  ...record({
    ...{ tenant: text, volume: text, agent: text, owner: text, sizeBytes: number, epoch: number },
    ...{ isOpen: flag, isConnected: flag, isPromoted: flag },
    ...{ backlogBytes: number, journalBytes: number },
    ...{ lagMs: number, snapshot: { type: ['string', 'null'] }, group: text },
  }),
  required: ['tenant', 'volume', 'owner', 'sizeBytes', 'epoch', 'isOpen', 'isConnected'],
};

const snapshot = record({
  ...{ id: text, volume: text, time: text, sizeBytes: number, changedBytes: number },
  ...{ storedBytes: number, source: text, digest: text, tags: list(text), held: flag },
});

const forward = record({
  ...{ to: text, isConnected: flag, waiting: number },
  refused: { type: 'object', additionalProperties: text },
});

const failure = record({ code: text, message: text, hint: text });
const byTenant = {
  type: 'object',
  properties: { tenant: { ...text, maxLength: 32 }, volume: { ...text, maxLength: 255 } },
  additionalProperties: false,
} as const;
const named = {
  ...{ type: 'object', properties: { volume: { ...text, maxLength: 255 } } },
  required: ['volume'],
} as const;
const failures = { '4xx': failure, '5xx': failure };

const promotedOne = {
  ...{ volume: text, authority: number, isForced: flag, snapshot },
  loss: {
    ...record({ epoch: number, cutWallMs: number, sinceContactMs: number, missingBytes: number }),
    required: ['epoch', 'missingBytes'],
  },
};
const promoted = {
  ...record({ ...promotedOne, others: list(record(promotedOne)), missing: list(text) }),
  required: Object.keys(promotedOne),
};

export const schemas = {
  health: { summary: 'Whether it serves', response: { 200: record(health), 503: record(health) } },
  status: {
    summary: 'Sessions, volumes, and what went wrong',
    response: {
      200: record({
        ...health,
        ...{ version: text, uri: text, upMs: number, halfOpen: number },
        tenants: list(record({ name: text, repository: text })),
        ...{ sessions: list(session), volumes: list(volume), refused: counts, errors: counts },
        forwards: list(forward),
      }),
    },
  },
  volumes: {
    summary: 'Volumes that agents keep present here',
    response: { 200: record({ volumes: list(volume) }), ...failures },
  },
  volume: {
    ...{ summary: 'One of them', params: named, querystring: byTenant },
    response: { 200: volume, ...failures },
  },
  snapshots: {
    ...{ summary: 'Snapshots of a tenant, oldest first', querystring: byTenant },
    response: { 200: record({ snapshots: list(snapshot) }), ...failures },
  },
  makeSnapshot: {
    ...{ summary: 'Makes a snapshot of the present epoch', params: named, querystring: byTenant },
    response: { 200: snapshot, ...failures },
  },
  promote: {
    ...{ summary: 'Has this side write what an agent wrote' },
    ...{ params: named, querystring: byTenant },
    body: {
      ...{ type: 'object', properties: { isForced: flag, isAgentDead: flag } },
      additionalProperties: false,
    },
    response: { 200: promoted, ...failures },
  },
  invite: {
    summary: 'A token for `ferry pair`',
    body: {
      ...{ type: 'object', properties: { tenant: { ...text, maxLength: 32 } } },
      additionalProperties: false,
    },
    response: { 200: record({ uri: text, token: text }), ...failures },
  },
};
