/** The one place where errors of the host become errors of a device. */
import { EnvError, type EnvErrorCode } from '../core/index.ts';
import { DeviceError, type DeviceErrorCode } from './device.ts';

const codes: Readonly<Record<EnvErrorCode, DeviceErrorCode>> = {
  ENV_NOT_FOUND: 'DEVICE_NOT_FOUND',
  ENV_EXISTS: 'DEVICE_EXISTS',
  ENV_ACCESS: 'DEVICE_ACCESS',
  ENV_NO_SPACE: 'DEVICE_NO_SPACE',
  ENV_READ_ONLY: 'DEVICE_READ_ONLY',
  ENV_IO: 'DEVICE_IO',
  ENV_NOT_A_DIRECTORY: 'DEVICE_NOT_FOUND',
  ENV_IS_A_DIRECTORY: 'DEVICE_UNSUPPORTED',
  ENV_LIMIT: 'DEVICE_IO',
  ENV_UNSUPPORTED: 'DEVICE_UNSUPPORTED',
  ENV_INVALID: 'DEVICE_UNSUPPORTED',
  ENV_ADDRESS_IN_USE: 'DEVICE_IO',
  ENV_REFUSED: 'DEVICE_IO',
  ENV_CLOSED: 'DEVICE_CLOSED',
  ENV_TIMEOUT: 'DEVICE_IO',
  ENV_TLS: 'DEVICE_IO',
  ENV_WORKER: 'DEVICE_IO',
};

/** A DeviceError stays as it is; what is no EnvError is a defect of ours. */
export function toDeviceError(error: unknown, name: string): DeviceError {
  if (error instanceof DeviceError) return error;
  if (error instanceof EnvError) {
    const { code, message, hint } = error;
    return new DeviceError(codes[code], `${name}: ${message}`, { hint, cause: error });
  }
  return new DeviceError('DEVICE_IO', `${name}: ${String(error)}`, {
    hint: 'This is a defect; please report it.',
    cause: error,
  });
}

export function closedError(name: string): DeviceError {
  return new DeviceError('DEVICE_CLOSED', `${name} is closed`, { hint: 'Open it again.' });
}
