import { Notification } from '@jupyterlab/apputils';
import { TranslationBundle } from '@jupyterlab/translation';

import { IJob } from '../api/protocol';
import { details, shortened } from './notification';

/** What a page has to know of jobs: those that run, and one by its id. */
export interface IJobs {
  readonly runningJobs: readonly IJob[];
  job(id: string): IJob | undefined;
}

/** Tells what a start has noticed, once, to the pages that were open while it ran. */
export class JobNotes {
  /** `show`: all of a note that is too long for a notification. */
  constructor(
    jobs: IJobs,
    show: (note: string) => void,
    trans: TranslationBundle
  ) {
    this._jobs = jobs;
    this._show = show;
    this._trans = trans;
  }

  /** Look at the jobs, after they have changed. */
  update(): void {
    for (const id of [...this._running]) {
      const job = this._jobs.job(id);
      if (job?.state === 'running') {
        continue;
      }
      this._running.delete(id);
      for (const note of job?.state === 'done' ? job.notes : []) {
        this._tell(note);
      }
    }
    for (const job of this._jobs.runningJobs) {
      this._running.add(job.id);
    }
  }

  private _tell(note: string): void {
    const text = shortened(note);
    Notification.info(text, {
      autoClose: false,
      actions:
        text === note ? [] : [details(() => this._show(note), this._trans)]
    });
  }

  private _jobs: IJobs;
  private _running = new Set<string>();
  private _show: (note: string) => void;
  private _trans: TranslationBundle;
}
