/** sim: the other world, for tests only; see README.md. */
export type { DatagramFaults } from './datagrams.ts';
export * from './disk.ts';
export { Draws, hash32 } from './draws.ts';
export type { DiskOperation, Fault, PlantedFault } from './fault-plan.ts';
export * from './object-crash.ts';
export { type Outcome, SimulationError, type SimulationErrorCode } from './scheduler.ts';
export * from './world.ts';
