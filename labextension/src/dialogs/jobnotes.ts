import { Notification } from '@jupyterlab/apputils';

import { IJob } from '../api/protocol';

/** What a page has to know of jobs: those that run, and one by its id. */
export interface IJobs {
  readonly runningJobs: readonly IJob[];
  job(id: string): IJob | undefined;
}

/** Tells what a start has noticed, once, to the pages that were open while it ran. */
export class JobNotes {
  constructor(jobs: IJobs) {
    this._jobs = jobs;
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
        Notification.info(note, { autoClose: false });
      }
    }
    for (const job of this._jobs.runningJobs) {
      this._running.add(job.id);
    }
  }

  private _jobs: IJobs;
  private _running = new Set<string>();
}
