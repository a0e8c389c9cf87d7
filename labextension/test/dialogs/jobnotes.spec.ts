import { Notification } from '@jupyterlab/apputils';

import { nullTranslator } from '@jupyterlab/translation';

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
  let shown: string[];
  let actions: readonly Notification.IAction[] | undefined;

  beforeEach(() => {
    told = [];
    jest.spyOn(Notification, 'info').mockImplementation((text, options) => {
      told.push(text);
      actions = options?.actions;
      return '';
    });
    jobs = new Jobs();
    shown = [];
    notes = new JobNotes(
      jobs,
      note => shown.push(note),
      nullTranslator.load('')
    );
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

  it('has all of a note that Lab would cut behind a button', () => {
    const note = `a link leads out, and ${'so on '.repeat(40)}`;
    jobs.set(job('a', 'running'));
    notes.update();
    jobs.set(job('a', 'done', [note, 'a short one']));
    notes.update();
    expect(told[0]).toMatch(/^a link leads out, and .*…$/);
    expect(told[0]).toHaveLength(140);
    expect(actions).toEqual([]);
    jobs.set(job('b', 'running'));
    notes.update();
    jobs.set(job('b', 'done', [note]));
    notes.update();
    const preventDefault = jest.fn();
    actions?.[0].callback({ preventDefault } as unknown as MouseEvent);
    expect(shown).toEqual([note]);
    expect(preventDefault).toHaveBeenCalled();
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
