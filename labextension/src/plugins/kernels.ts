import {
  JupyterFrontEnd,
  JupyterFrontEndPlugin
} from '@jupyterlab/application';
import { ISessionContextDialogs } from '@jupyterlab/apputils';
import { IConsoleTracker } from '@jupyterlab/console';
import { INotebookTracker } from '@jupyterlab/notebook';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { PluginIDs } from '../ids';
import { followKernels } from '../kernels/menu';
import { KernelEnds } from '../kernels/notifications';
import { restartDeadOnes } from '../kernels/restart';
import { IEnvironments } from '../tokens';

/** Kernels in environments: the kernel menu, why one has ended, and "Restart" of a dead one. */
export const kernels: JupyterFrontEndPlugin<void> = {
  id: PluginIDs.kernels,
  description: 'Kernels in ML environments.',
  autoStart: true,
  requires: [IEnvironments],
  optional: [
    IConsoleTracker,
    INotebookTracker,
    ISessionContextDialogs,
    ITranslator
  ],
  activate: (
    app: JupyterFrontEnd,
    { model }: IEnvironments,
    consoles: IConsoleTracker | null,
    notebooks: INotebookTracker | null,
    dialogs: ISessionContextDialogs | null,
    translator: ITranslator | null
  ) => {
    if (!model) {
      return;
    }
    const trans = (translator ?? nullTranslator).load('jupyter_mlenv');
    const { kernelspecs, sessions } = app.serviceManager;
    followKernels(model, kernelspecs);
    const ends = new KernelEnds(sessions, trans);
    if (notebooks) {
      ends.watch(notebooks);
    }
    if (consoles) {
      ends.watch(consoles);
    }
    if (dialogs) {
      restartDeadOnes(dialogs, kernel => ends.having(kernel));
    }
  }
};
