/** Levels of a log, for the command line, which loads nothing of the service. */
export const LOG_LEVEL_NAMES = ['error', 'warn', 'info', 'debug'] as const;
