/** How far a journey is; handed to a callback so that a command can show it. */

export type Progress = {
  /** Of the volume. */
  readonly doneBytes: number;
  readonly totalBytes: number;
};

export type OnProgress = (progress: Progress) => void;
