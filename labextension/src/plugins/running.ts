import {
  JupyterFrontEnd,
  JupyterFrontEndPlugin
} from '@jupyterlab/application';
import { IRunningSessionManagers } from '@jupyterlab/running';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { PluginIDs } from '../ids';
import { runningManager } from '../running/manager';
import { IEnvironments } from '../tokens';

/** A section in the panel of running things. */
export const running: JupyterFrontEndPlugin<void> = {
  id: PluginIDs.running,
  description: 'ML environments in the panel of running sessions.',
  autoStart: true,
  requires: [IEnvironments],
  optional: [IRunningSessionManagers, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    { model }: IEnvironments,
    managers: IRunningSessionManagers | null,
    translator: ITranslator | null
  ) => {
    if (model) {
      const trans = (translator ?? nullTranslator).load('jupyter_mlenv');
      managers?.add(runningManager(model, app.commands, trans));
    }
  }
};
