/** Goal: a guarded device is a device; a failed flush fails all; the last client flushes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Device, DeviceError, FUA, memory, readOnly } from '../../device/index.ts';
import { deviceSuite } from '../../device/device.suite.ts';
import { type DeviceMemory, guarded, newDeviceMemory, releaseThread } from './guarded.ts';

