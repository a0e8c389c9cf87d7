import { Notification } from '@jupyterlab/apputils';

import { IJob } from '../../src/api/protocol';
import { JobNotes } from '../../src/dialogs/jobnotes';
import { job as jobOf } from '../support';

function job(id: string, state: IJob['state'], notes: string[] = []): IJob {
  return jobOf({ id, state, notes });
}

/** Jobs as a page's model has them. */
class Jobs {
  all = new Map<string, IJob>();

  set(...jobs: IJob[]): void {
    this.all = new Map(jobs.map(one => [one.id, one]));
  }

  get runningJobs(): readonly IJob[] {
    return [...this.all.values()].filter(one => one.state === 'running');
  }

  job(id: string): IJob | undefined {
    return this.all.get(id);
  }
}

describe('JobNotes', () => {
  let jobs: Jobs;
  let notes: JobNotes;
  let told: string[];

  beforeEach(() => {
    told = [];
    jest.spyOn(Notification, 'info').mockImplementation(text => {
      told.push(text);
      return '';
    });
    jobs = new Jobs();
    notes = new JobNotes(jobs);
  });

  afterEach(() => jest.restoreAllMocks());

  it('tells once what a start has noticed that ran while the page was open', () => {
    jobs.set(job('a', 'running', ['a link leads out']));
    notes.update();
    expect(told).toEqual([]);
    jobs.set(job('a', 'done', ['a link leads out']));
    notes.update();
    notes.update();
    expect(told).toEqual(['a link leads out']);
  });

  it('tells nothing of what ended before, failed, or is gone', () => {
    jobs.set(job('old', 'done', ['x']), job('bad', 'running', ['x']));
    notes.update();
    jobs.set(job('old', 'done', ['x']), job('bad', 'failed', ['x']));
    notes.update();
    jobs.set(job('b', 'running'));
    notes.update();
    jobs.set();
    notes.update();
    expect(told).toEqual([]);
  });
});
