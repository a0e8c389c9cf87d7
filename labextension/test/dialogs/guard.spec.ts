import { Dialog } from '@jupyterlab/apputils';
import { nullTranslator } from '@jupyterlab/translation';

import { IHolder, letGo } from '../../src/dialogs/guard';
import { askBeforeShutDown } from '../../src/commands/shutdown';
import { Unsaved } from '../../src/tab/unsaved';
import { press, shownDialog } from '../support';

const trans = nullTranslator.load('jupyter_mlenv');
const QUESTION = {
  title: 'Stop',
  body: 'It stops.',
  label: 'Stop',
  saveLabel: 'Save All and Stop',
  discardLabel: 'Stop without Saving'
};

class Tab implements IHolder {
  constructor(
    public names: string[],
    readonly canSave = true,
    readonly saves = true
  ) {}
  title = { label: 'my · Python' };
  reveal = jest.fn();
  unsaved(): Promise<Unsaved> {
    const { names, canSave } = this;
    return Promise.resolve(
      names.length ? { kind: 'some', names, canSave } : { kind: 'none' }
    );
  }
  saveAll = jest.fn(() => {
    this.names = this.saves ? [] : this.names;
    return Promise.resolve();
  });
}

describe('before Lab ends its server', () => {
  afterEach(() => Dialog.flush());

  const executed = jest.fn().mockResolvedValue('done');

  const execute = (id: string, tab: Tab): Promise<unknown> => {
    executed.mockClear();
    const commands = { execute: executed };
    askBeforeShutDown(commands, () => [tab], trans);
    return commands.execute(id, { of: 'me' }) as Promise<unknown>;
  };

  it('unsaved work is asked about', async () => {
    const tab = new Tab(['a.ipynb']);
    const staying = execute('filemenu:shutdown', tab);
    await shownDialog('a.ipynb');
    await press('Cancel');
    await staying;
    expect(executed).not.toHaveBeenCalled();
    const going = execute('filemenu:shutdown', tab);
    await press('Save All and Go On');
    await expect(going).resolves.toBe('done');
    expect(executed).toHaveBeenCalledWith('filemenu:shutdown', { of: 'me' });
  });

  it('no other command is held up', async () => {
    const tab = new Tab(['a.ipynb']);
    await expect(execute('docmanager:save', tab)).resolves.toBe('done');
    await expect(execute('filemenu:shutdown', new Tab([]))).resolves.toBe(
      'done'
    );
  });
});

describe('before unsaved work is let go', () => {
  afterEach(() => Dialog.flush());

  it('a person is asked the plain question where nothing is unsaved', async () => {
    const tab = new Tab([]);
    const going = letGo([tab], QUESTION, trans);
    await press('Stop');
    await expect(going).resolves.toBe(true);
    const staying = letGo([tab], QUESTION, trans);
    await press('Cancel');
    await expect(staying).resolves.toBe(false);
  });

  it('nothing is asked where nothing is unsaved and nothing else to be asked', async () => {
    const quiet = { ...QUESTION, label: undefined };
    await expect(letGo([new Tab([])], quiet, trans)).resolves.toBe(true);
  });

  it('what is unsaved is named, also where no plain question was wanted', async () => {
    const quiet = { ...QUESTION, label: undefined };
    const tabs = [new Tab([]), new Tab(['a.ipynb', 'b.py'])];
    const staying = letGo(tabs, quiet, trans);
    await shownDialog('my · Python: a.ipynb, b.py');
    await press('Cancel');
    await expect(staying).resolves.toBe(false);
    expect(tabs[1].saveAll).not.toHaveBeenCalled();
  });

  it('all is saved on demand, in the tab that a person then sees', async () => {
    const tabs = [new Tab([]), new Tab(['a.ipynb'])];
    const going = letGo(tabs, QUESTION, trans);
    await press('Save All and Stop');
    await expect(going).resolves.toBe(true);
    expect(tabs[1].reveal).toHaveBeenCalled();
    expect(tabs[0].saveAll).not.toHaveBeenCalled();
  });

  it('nothing is done where saving has failed', async () => {
    const tab = new Tab(['a.ipynb'], true, false);
    const going = letGo([tab], QUESTION, trans);
    await press('Save All and Stop');
    await press('Close');
    await expect(going).resolves.toBe(false);
  });

  it('it goes without saving on demand', async () => {
    const tab = new Tab(['a.ipynb']);
    const going = letGo([tab], QUESTION, trans);
    await press('Stop without Saving');
    await expect(going).resolves.toBe(true);
    expect(tab.saveAll).not.toHaveBeenCalled();
  });

  it('saving is not offered where a page cannot be told to', async () => {
    const staying = letGo([new Tab([''], false)], QUESTION, trans);
    const text = await shownDialog('save in the page itself');
    expect(text).not.toContain('Save All');
    await press('Cancel');
    await expect(staying).resolves.toBe(false);
  });
});
