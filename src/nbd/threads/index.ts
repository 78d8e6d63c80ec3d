/** nbd/threads: one server on several threads of the process; see README.md. */
export { THREADS_MAX } from './limits.ts';
export {
  type ServeOnThreadsOptions,
  type SharedExportOptions,
  serveOnThreads,
  type ThreadedServer,
} from './serve-on-threads.ts';
