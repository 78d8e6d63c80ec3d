/** What can go wrong between this node and those that it should know. */
import { FerryError } from '../core/index.ts';

export type ServiceErrorCode =
  /** A file that this node keeps for itself cannot be read. */
  | 'SERVICE_STATE'
  /** The other node was never paired with, or was revoked. */
  | 'SERVICE_UNKNOWN_PEER'
  | 'SERVICE_UNKNOWN_TENANT'
  /** The API was asked for what is not there. */
  | 'SERVICE_NOT_FOUND'
  /** What was given is no token. */
  | 'SERVICE_TOKEN';

export class ServiceError extends FerryError<ServiceErrorCode> {
  override readonly name = 'ServiceError';
}
