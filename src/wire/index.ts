/** wire: the session between two nodes, its lanes and its messages; see README.md. */
export { BufferPool } from './buffers.ts';
export { type DialledSession, type DialOptions, dialSession } from './dial.ts';
export { type DialTlsOptions, dialTls } from './dial-tls.ts';
export { WireError, type WireErrorCode } from './errors.ts';
export {
  HEADER_BYTES,
  PRIORITY_BACKGROUND,
  PRIORITY_CONTROL,
  PRIORITY_DEMAND,
  PRIORITY_DIRTY,
  PRIORITY_SPECULATION,
} from './header.ts';
export { type Admission, type HostOptions, type Knock, SessionHost } from './host.ts';
export {
  createIdentity,
  type IdentityOptions,
  loadIdentity,
  type NodeIdentity,
} from './identity/certificate.ts';
export { OneTimeTokens, type OneTimeTokensOptions } from './identity/one-time-tokens.ts';
export { checkPinned, checkShown, vouchedName } from './identity/trust.ts';
export { Incoming } from './incoming.ts';
export type { Lane, LaneKind } from './lane.ts';
export { type LaneChoice, LaneChooser, type LaneMode, type LaneSet } from './lane-chooser.ts';
export * from './limits.ts';
export * from './messages/index.ts';
export {
  played,
  RECORDED_END,
  RECORDED_IN,
  RECORDED_OUT,
  type RecordedChunk,
  type RecordingOptions,
  readRecording,
  recorded,
} from './recording.ts';
export { Session, type SessionState } from './session.ts';
export type { SendOptions, SessionHandlers, Traffic } from './session-types.ts';
