/** The log of a daemon: what happened, for people as lines, for programs as JSON by pino. */

const LOG_LEVELS = ['error', 'warn', 'info', 'debug'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** `fields` are what programs search for: names, numbers, codes; never secrets. */
export type LogLine = (fields: Readonly<Record<string, unknown>>, text: string) => void;
export type Log = Readonly<Record<LogLevel, LogLine>>;

/** Lines of JSON on stderr, written at once, so that the last one before an end is there too. */
export async function jsonLog(level: LogLevel): Promise<Log> {
  const { pino } = await import('pino');
  const logger = pino(
    {
      level,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    pino.destination({ fd: 2, sync: true }),
  );
  return logged((at, fields, text) => logger[at](fields, text), level);
}

/** For a person who looks on: `print` is told each line that the level lets through. */
export function plainLog(level: LogLevel, print: (at: LogLevel, text: string) => void): Log {
  return logged((at, _fields, text) => print(at, text), level);
}

type Write = (at: LogLevel, fields: Readonly<Record<string, unknown>>, text: string) => void;

function logged(write: Write, level: LogLevel): Log {
  const most = LOG_LEVELS.indexOf(level);
  const line = (at: LogLevel): LogLine => {
    const isHeard = LOG_LEVELS.indexOf(at) <= most;
    return (fields, text) => {
      if (isHeard) write(at, fields, text);
    };
  };
  return { error: line('error'), warn: line('warn'), info: line('info'), debug: line('debug') };
}
