import { Dialog } from '@jupyterlab/apputils';
import { Widget } from '@lumino/widgets';

import {
  environment,
  job,
  press,
  settled,
  shownDialog,
  Socket
} from '../support';
import { EnvironmentTab } from '../../src/tab/tab';
import { ID, Window } from '../window';

/** The texts of a tab's toolbar, once it is drawn. */
async function toolbar(tab: EnvironmentTab): Promise<string> {
  Widget.attach(tab, document.body);
  await settled();
  const text = tab.toolbar.node.textContent ?? '';
  Widget.detach(tab);
  return text;
}

describe('the tabs', () => {
  let window: Window;

  beforeEach(() => {
    window = new Window();
  });

  afterEach(() => {
    Dialog.flush();
    window.dispose();
  });

  it('are one for each endpoint of an environment', () => {
    const lab = window.tabs.open(ID, 'notebook');
    expect(window.tabs.open(ID, 'notebook')).toBe(lab);
    const board = window.tabs.open(ID, 'tensorboard');
    expect(window.tabs.of(ID)).toEqual([lab, board]);
    expect(window.tabs.current).toBe(board);
  });

  it('are called by folder and environment, and others by what they show', () => {
    expect(window.tabs.open(ID, 'notebook').title.label).toBe(
      'myproject · Python'
    );
    const board = window.tabs.open(ID, 'tensorboard');
    expect(board.title.label).toBe('myproject · TensorBoard');
    const port = window.tabs.open(ID, '8501');
    expect(port.title.label).toBe('myproject · Port 8501');
  });

  it('have buttons for the other endpoints that the server knows', async () => {
    const lab = window.tabs.open(ID, 'notebook');
    expect(await toolbar(lab)).not.toContain('TensorBoard');
    const page = { title: 'MLflow', icon: '', url: '/', open: '/' };
    const endpoints = { ...environment().endpoints, mlflow: page };
    Socket.last.say({
      type: 'environment',
      environment: environment({ endpoints })
    });
    expect(await toolbar(lab)).toContain('MLflow');
    expect(await toolbar(lab)).not.toContain('JupyterLab');
    const other = await toolbar(window.tabs.open(ID, 'mlflow'));
    expect(other).toContain('JupyterLab');
  });

  it('have buttons before the server has said what there is', async () => {
    window.dispose();
    window = new Window([]);
    window.server.answers['POST environments'] = () =>
      new Promise(() => undefined);
    const tab = window.tabs.start({ preset: 'python', path: '' });
    expect(await toolbar(tab)).toContain('TensorBoard');
  });

  it('end up as one where a click meets a tab that is there', async () => {
    const there = window.tabs.open(ID, 'notebook');
    await settled();
    Socket.last.say({ type: 'job', job: job({ state: 'done' }) });
    await settled();
    window.tabs.start({ preset: 'python', path: 'myproject' });
    await settled();
    expect(window.tabs.of(ID)).toHaveLength(1);
    expect(there.isDisposed).toBe(there !== window.tabs.of(ID)[0]);
  });

  it.each(['before', 'after'])(
    'follow the job in the way of a restart, known %s, and say so',
    async when => {
      const other = job({ id: 'other' });
      if (when === 'before') {
        Socket.last.say({ type: 'job', job: other });
      }
      window.server.answers['GET jobs/other'] = { body: other };
      window.server.answers[`POST environments/${ID}/restart`] = {
        status: 409,
        body: {
          code: 'environment_busy',
          message: 'It is being started just now.',
          hint: 'Wait until that has ended.',
          details: { environment: ID, job: 'other' }
        }
      };
      const tab = window.tabs.restart(ID, 'notebook');
      expect(await shownDialog('It is being started just now.')).toContain(
        'was not restarted'
      );
      await press('Close');
      expect(tab.session.view).toMatchObject({
        kind: 'working',
        job: { id: 'other' }
      });
      Socket.last.say({
        type: 'job',
        job: job({ id: 'other', state: 'done' })
      });
      await settled();
      expect(tab.session.view.kind).toBe('frame');
    }
  );

  it('close without a question when nothing is unsaved', async () => {
    const tab = window.tabs.open(ID, 'notebook');
    tab.close();
    await settled();
    expect(tab.isDisposed).toBe(true);
    expect(window.tabs.all).toEqual([]);
  });

  it('are restored from what they were', () => {
    const seed = window.tabs.open(ID, 'tensorboard').seed;
    window.dispose();
    window = new Window([]);
    const tab = window.tabs.open(ID, 'tensorboard', seed);
    expect(tab.seed.key).toBe(seed.key);
    expect(tab.title.label).toBe('myproject · TensorBoard');
  });
});
