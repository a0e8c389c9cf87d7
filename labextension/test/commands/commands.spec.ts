import { Dialog } from '@jupyterlab/apputils';

import { CommandIDs } from '../../src/ids';
import { environment, job, press, settled, shownDialog } from '../support';
import { ID, Window } from '../window';

describe('a command', () => {
  let window: Window;

  afterEach(() => {
    Dialog.flush();
    window.dispose();
  });

  const run = (command: string, args = {}) =>
    window.commands.execute(command, args);

  it('to start opens a tab at once, for the folder of the file browser', async () => {
    window = new Window([]);
    const tab = run(CommandIDs.start, { preset: 'python' });
    await tab;
    expect(window.added).toHaveLength(1);
    await settled();
    const { body } = window.server.asked.find(
      ({ method, path }) => method === 'POST' && path === 'environments'
    )!;
    expect(body).toMatchObject({ preset: 'python', path: 'myproject' });
  });

  it('to start says that there is no engine, and opens nothing', async () => {
    window = new Window([]);
    window.server.answers['GET engine'] = {
      body: {
        available: false,
        facts: null,
        error: { code: 'x', message: 'Docker does not run.', hint: 'Start it.' }
      }
    };
    await window.model.checkEngine();
    const started = run(CommandIDs.start, { preset: 'python' });
    expect(await shownDialog('Docker does not run.')).toContain(
      'was not started'
    );
    await press('Close');
    await started;
    expect(window.added).toEqual([]);
  });

  it('to stop asks first, and does nothing after a no', async () => {
    window = new Window();
    const staying = run(CommandIDs.stop, { id: ID });
    await shownDialog('myproject · Python');
    await press('Cancel');
    await staying;
    expect(window.server.count('POST', `environments/${ID}/stop`)).toBe(0);
    const stopping = run(CommandIDs.stop, { id: ID });
    await press('Stop');
    await stopping;
    expect(window.server.count('POST', `environments/${ID}/stop`)).toBe(1);
    expect(window.model.environment(ID)?.state).toBe('stopped');
  });

  it('without an environment lets a person choose, among those that it is for', async () => {
    const other = environment({ id: 'jax-1', title: 'JAX', state: 'stopped' });
    window = new Window([environment(), other]);
    const opening = run(CommandIDs.openTensorBoard);
    const text = await shownDialog('Open TensorBoard');
    expect(document.querySelectorAll('.jp-Dialog option')).toHaveLength(1);
    expect(text).toContain(`myproject · Python — Running — ${ID}`);
    await press('Ok');
    await opening;
    expect(window.tabs.find(ID, 'tensorboard')).toBeDefined();
  });

  it('to open a port lets a person choose among what listens', async () => {
    window = new Window();
    const open = jest.spyOn(globalThis.window, 'open').mockReturnValue(null);
    const port = (port: number, name: string) => ({
      port,
      name,
      app: `/mlenv/apps/${ID}/${port}/`,
      url: `/mlenv/envs/${ID}/${port}/`
    });
    window.server.answers[`GET environments/${ID}/ports`] = {
      body: { ports: [port(8000, 'http.server'), port(8501, 'streamlit')] }
    };
    const opening = run(CommandIDs.openPort, { id: ID });
    expect(await shownDialog('Open Port')).toContain('8501 — streamlit');
    await press('Ok');
    await opening;
    expect(open.mock.calls[0][0]).toMatch(`/mlenv/apps/${ID}/8000/`);
    expect(open.mock.calls[0][2]).toBe('noopener');
    window.server.answers[`GET environments/${ID}/ports`] = {
      body: { ports: [] }
    };
    const none = run(CommandIDs.openPort, { id: ID });
    await shownDialog('Nothing listens on a port there.');
    await press('Close');
    await none;
    expect(open).toHaveBeenCalledTimes(1);
    open.mockRestore();
  });

  it('that fails says what was not done, and why', async () => {
    window = new Window();
    window.settings.confirmRemove = false;
    window.server.answers[`DELETE environments/${ID}`] = {
      status: 409,
      body: { code: 'x', message: 'It is busy.', hint: '' }
    };
    const removing = run(CommandIDs.remove, { id: ID });
    expect(await shownDialog('It is busy.')).toContain('was not removed');
    await press('Close');
    await removing;
    expect(window.model.environment(ID)).toBeDefined();
  });

  it('to cancel takes the only job of the environment', async () => {
    window = new Window([environment({ state: 'pending' })], [job()]);
    window.server.answers['DELETE jobs/j1'] = { status: 204 };
    await run(CommandIDs.cancel, { id: ID });
    expect(window.server.count('DELETE', 'jobs/j1')).toBe(1);
  });

  it('to cancel says so where nothing is being started', async () => {
    window = new Window();
    const cancelling = run(CommandIDs.cancel);
    await shownDialog('Nothing is being started now.');
    await press('Close');
    await cancelling;
  });

  it('has a label of its own for a preset with a GPU', async () => {
    window = new Window();
    const preset = { name: 'torch', title: 'PyTorch', gpu: true };
    const presets = [{ ...preset, description: 'Deep learning' }];
    window.server.answers['GET presets'] = {
      body: { presets, errors: [], workspace: null }
    };
    await window.model.refreshPresets();
    const args = { preset: 'torch' };
    expect(window.commands.label(CommandIDs.start, args)).toBe('PyTorch · GPU');
    expect(window.commands.caption(CommandIDs.start, args)).toBe(
      'Deep learning'
    );
  });
});
