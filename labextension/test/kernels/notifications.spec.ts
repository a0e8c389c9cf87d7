import { Notification } from '@jupyterlab/apputils';
import { Session } from '@jupyterlab/services';
import { nullTranslator } from '@jupyterlab/translation';
import { Signal } from '@lumino/signaling';

import { KernelEnds } from '../../src/kernels/notifications';
import { restartDeadOnes } from '../../src/kernels/restart';

const MEMORY =
  'The kernel ran out of memory in the environment x-1, which may use 1 GiB.';
const ADVICE =
  'Give it more in the preset (resources.memory), or with `jupyter mlenv start PRESET --memory SIZE --recreate`.';
const STOPPED = 'The environment x-1 was stopped.';

interface IModel {
  id: string;
  name: string;
  status?: string;
}

const SPECS = {
  kernelspecs: {
    'mlenv-x': { metadata: { 'jupyter-mlenv': { preset: 'x' } } },
    python3: {}
  }
};

/** The session context of a notebook that was switched to one of our kernels. */
class Context {
  constructor(
    readonly name: string,
    kernel: string
  ) {
    this.session = { kernel: { id: kernel, name: 'mlenv-x' } };
  }

  readonly prevKernelName = 'python3';
  readonly iopubMessage = new Signal<this, unknown>(this);
  readonly kernelChanged = new Signal<this, unknown>(this);
  readonly disposed = new Signal<this, void>(this);
  readonly specsManager = { specs: SPECS };
  isDisposed = false;
  session: { kernel: IModel } | null;

  changeKernel = jest.fn((model: Partial<IModel>) => {
    const kernel = { id: model.id ?? 'new', name: model.name ?? 'mlenv-x' };
    this.session = { kernel };
    this.kernelChanged.emit({ oldValue: null, newValue: kernel });
    return Promise.resolve(kernel);
  });

  says(metadata: unknown): void {
    this.iopubMessage.emit({ header: { msg_type: 'stream' }, metadata });
  }

  ends(reason: string, restarting: boolean): void {
    this.says({ 'jupyter-mlenv': { reason, restarting } });
  }

  restarts(): void {
    const kernel = this.session?.kernel;
    this.kernelChanged.emit({ oldValue: kernel, newValue: kernel });
  }

  close(): void {
    this.isDisposed = true;
    this.disposed.emit();
  }
}

/** Documents that are open already, and the ones that are opened later. */
class Tracker {
  constructor(private _open: Context[]) {}
  readonly widgetAdded = new Signal<this, { sessionContext: Context }>(this);
  forEach(tell: (widget: { sessionContext: Context }) => void): void {
    this._open.forEach(sessionContext => tell({ sessionContext }));
  }
}

/** Everything that Lab shows now. */
const shown = () =>
  Notification.manager.notifications.map(({ type, message }) => [
    type,
    message
  ]);

const actions = () =>
  Notification.manager.notifications[0].options.actions ?? [];

describe('the end of a kernel', () => {
  let refresh: jest.Mock;

  const watch = (...contexts: Context[]) => {
    const tracker = new Tracker(contexts);
    const sessions = { refreshRunning: refresh };
    const ends = new KernelEnds(
      sessions as unknown as Session.IManager,
      nullTranslator.load('')
    );
    ends.watch(tracker as unknown as Parameters<KernelEnds['watch']>[0]);
    return { ends, tracker };
  };

  /** Click on what the notification offers, as Lab does. */
  const click = async () => {
    const { id } = Notification.manager.notifications[0];
    actions()[0].callback(new MouseEvent('click'));
    Notification.dismiss(id);
    await new Promise(resolve => setTimeout(resolve));
  };

  beforeEach(() => {
    refresh = jest.fn(() => Promise.resolve());
  });

  afterEach(() => Notification.dismiss());

  it('is told with its notebook and reason', () => {
    const context = new Context('a.ipynb', 'k1');
    watch(context);
    context.says({});
    expect(shown()).toEqual([]);
    context.ends(MEMORY, true);
    expect(shown()).toEqual([['warning', `a.ipynb: ${MEMORY}`]]);
    expect(actions()).toEqual([]);
  });

  it('is told in whole sentences, as Lab cuts long ones', () => {
    const context = new Context('a.ipynb', 'k1');
    watch(context);
    context.ends(`${MEMORY} ${ADVICE}`, true);
    expect(shown()).toEqual([['warning', `a.ipynb: ${MEMORY}`]]);
  });

  it('is told of notebooks that are opened later', () => {
    const { tracker } = watch();
    const context = new Context('later.ipynb', 'k1');
    tracker.widgetAdded.emit({ sessionContext: context });
    tracker.widgetAdded.emit({ sessionContext: context }); // a second view
    context.ends(MEMORY, true);
    expect(shown()).toHaveLength(1);
  });

  it('is told once, whoever has the kernel and however often it ends', () => {
    const notebook = new Context('a.ipynb', 'k1');
    const console = new Context('Console 1', 'k1');
    const itsConsole = new Context('a.ipynb', 'k1');
    const other = new Context('b.ipynb', 'k2');
    watch(notebook, console, itsConsole, other);
    notebook.ends(MEMORY, true);
    console.ends(MEMORY, true);
    itsConsole.ends(MEMORY, true);
    notebook.ends(STOPPED, false);
    expect(shown()).toEqual([['error', `a.ipynb, Console 1: ${STOPPED}`]]);
    other.ends(MEMORY, true);
    expect(shown()).toHaveLength(2);
  });

  it('is told again after somebody closed the notification', () => {
    const context = new Context('a.ipynb', 'k1');
    watch(context);
    context.ends(MEMORY, true);
    Notification.dismiss();
    context.ends(MEMORY, true);
    expect(shown()).toHaveLength(1);
  });

  it('is over when somebody restarts the kernel', () => {
    const notebook = new Context('a.ipynb', 'k1');
    const console = new Context('Console 1', 'k1');
    watch(notebook, console);
    notebook.ends(MEMORY, true);
    console.ends(MEMORY, true);
    notebook.restarts();
    expect(shown()).toEqual([]);
  });

  it('is over when the last one has another kernel or is closed', () => {
    const notebook = new Context('a.ipynb', 'k1');
    const console = new Context('Console 1', 'k1');
    watch(notebook, console);
    notebook.ends(STOPPED, false);
    console.ends(STOPPED, false);
    void notebook.changeKernel({ name: 'python3' });
    expect(shown()).toHaveLength(1);
    console.close();
    expect(shown()).toEqual([]);
  });

  it('brings the same kernel back for all that had it', async () => {
    const notebook = new Context('a.ipynb', 'k1');
    const console = new Context('Console 1', 'k1');
    watch(notebook, console);
    notebook.ends(STOPPED, false);
    console.ends(STOPPED, false);
    refresh.mockImplementation(() => {
      notebook.session = console.session = null;
      return Promise.resolve();
    });
    await click();
    expect(notebook.changeKernel.mock.calls).toEqual([[{ name: 'mlenv-x' }]]);
    expect(console.changeKernel.mock.calls).toEqual([[{ id: 'new' }]]);
    expect(shown()).toEqual([]);
  });

  it('is not undone in a notebook that was closed', async () => {
    const notebook = new Context('a.ipynb', 'k1');
    const console = new Context('Console 1', 'k1');
    watch(notebook, console);
    notebook.ends(STOPPED, false);
    console.ends(STOPPED, false);
    notebook.close();
    await click();
    expect(notebook.changeKernel).not.toHaveBeenCalled();
    expect(console.changeKernel.mock.calls).toEqual([[{ name: 'mlenv-x' }]]);
  });

  describe('and a restart by hand', () => {
    let dialogs: Parameters<typeof restartDeadOnes>[0];
    let own: jest.Mock;
    const restart = (context: Context, options?: object) =>
      dialogs.restart(context as never, options as never);
    const die = (context: Context) =>
      Object.assign(context.session!.kernel, { status: 'dead' });

    const restartable = (...contexts: Context[]) => {
      const { ends } = watch(...contexts);
      own = jest.fn(() => Promise.resolve(false));
      dialogs = { restart: own };
      restartDeadOnes(dialogs, kernel => ends.having(kernel));
    };

    it('which brings it back for all that had it', async () => {
      const notebook = new Context('a.ipynb', 'k1');
      const console = new Context('Console 1', 'k1');
      restartable(notebook, console);
      notebook.ends(STOPPED, false);
      console.ends(STOPPED, false);
      die(console);
      const onBeforeRestart = jest.fn();
      expect(await restart(console, { onBeforeRestart })).toBe(true);
      expect(own).not.toHaveBeenCalled();
      expect(onBeforeRestart).toHaveBeenCalledTimes(1);
      expect(console.changeKernel.mock.calls).toEqual([[{ name: 'mlenv-x' }]]);
      expect(notebook.changeKernel.mock.calls).toEqual([[{ id: 'new' }]]);
      expect(shown()).toEqual([]);
    });

    it('after the page was loaded again', async () => {
      const context = new Context('a.ipynb', 'k1');
      restartable(context);
      die(context);
      expect(await restart(context)).toBe(true);
      expect(context.changeKernel.mock.calls).toEqual([[{ name: 'mlenv-x' }]]);
    });

    it("which is Lab's business for other kernels and living ones", async () => {
      const living = new Context('a.ipynb', 'k1');
      const other = new Context('b.ipynb', 'k2');
      other.session!.kernel.name = 'python3';
      die(other);
      restartable(living, other);
      const options = {};
      expect(await restart(living, options)).toBe(false);
      expect(await restart(other)).toBe(false);
      expect(own.mock.calls).toEqual([
        [living, options],
        [other, undefined]
      ]);
    });
  });
});
