import { Dialog } from '@jupyterlab/apputils';
import { CommandRegistry } from '@lumino/commands';

import { CommandIDs } from '../../src/ids';
import { runningManager } from '../../src/running/manager';
import { environment, press, settled, shownDialog } from '../support';
import { ID, trans, Window } from '../window';

const STOPPED = environment({ id: 'jax-1', state: 'stopped' });

describe('the section of running environments', () => {
  let window: Window;

  beforeEach(() => {
    window = new Window([environment({ name: 'second' }), STOPPED]);
  });

  afterEach(() => {
    Dialog.flush();
    window.dispose();
  });

  const manager = (commands = window.commands) =>
    runningManager(window.model, commands, trans);

  it('shows those that run, and tells them apart', () => {
    const [item, ...others] = manager().running({} as never);
    expect(others).toEqual([]);
    expect(item.label()).toBe('myproject · Python (second)');
    expect(item.labelTitle?.()).toBe(`/home/ada/myproject\n${ID} · Running`);
  });

  it('opens a tab, and stops after a question', async () => {
    const [item] = manager().running({} as never);
    item.open?.();
    await settled();
    expect(window.tabs.find(ID, 'notebook')).toBeDefined();
    item.shutdown?.();
    await shownDialog('This shuts down all kernels');
    await press('Stop');
    await settled();
    expect(window.server.count('POST', `environments/${ID}/stop`)).toBe(1);
  });

  it('stops all without asking twice', async () => {
    manager().shutdownAll();
    await settled();
    expect(window.server.count('POST', `environments/${ID}/stop`)).toBe(1);
  });

  it('works where the tabs are disabled', async () => {
    const [item] = manager(new CommandRegistry()).running({} as never);
    expect(item.open).toBeUndefined();
    item.shutdown?.();
    await settled();
    expect(window.server.count('POST', `environments/${ID}/stop`)).toBe(1);
    expect(window.commands.hasCommand(CommandIDs.stop)).toBe(true);
  });
});
