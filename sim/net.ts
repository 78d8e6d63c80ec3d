/** No network yet. */
import { EnvError, type Net } from '../src/core/index.ts';
import type { SimulatedProcess } from './process.ts';
import type { Scheduler } from './scheduler.ts';

export class SimulatedNet {
  constructor(_scheduler: Scheduler) {}

  forProcess(_process: SimulatedProcess): Net {
    const refuse = async (): Promise<never> => {
      throw new EnvError('ENV_UNSUPPORTED', 'the simulated world has no network', {
        hint: 'Test this with the real one.',
      });
    };
    return { listen: refuse, connect: refuse };
  }
}
