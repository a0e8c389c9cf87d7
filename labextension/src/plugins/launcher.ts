import {
  JupyterFrontEnd,
  JupyterFrontEndPlugin
} from '@jupyterlab/application';
import { ILauncher } from '@jupyterlab/launcher';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { showError } from '../dialogs/dialogs';
import { PresetProblems } from '../dialogs/presetproblems';
import { PluginIDs } from '../ids';
import { Tiles } from '../launcher/tiles';
import {
  IEnvironments,
  IEnvironmentSettings,
  IEnvironmentTabs
} from '../tokens';

/** A tile for each preset, and a notice about each that cannot be one. */
export const launcher: JupyterFrontEndPlugin<void> = {
  id: PluginIDs.launcher,
  description: 'Tiles of ML environments in the launcher.',
  autoStart: true,
  // A tile is a command of the tabs.
  requires: [IEnvironments, IEnvironmentSettings, IEnvironmentTabs],
  optional: [ILauncher, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    { model }: IEnvironments,
    settings: IEnvironmentSettings,
    _: IEnvironmentTabs,
    launcher: ILauncher | null,
    translator: ITranslator | null
  ) => {
    if (!model) {
      return;
    }
    const trans = (translator ?? nullTranslator).load('jupyter_mlenv');
    new PresetProblems(
      model.presetList,
      error =>
        void showError(trans.__('A preset cannot be used'), error, trans),
      path =>
        void app.commands.execute('docmanager:open', {
          path,
          factory: 'Editor'
        }),
      trans
    );
    if (launcher) {
      const shown = () => settings.current.showTiles;
      const tiles = new Tiles(launcher, model, shown, trans);
      settings.changed.connect(() => tiles.update());
    }
  }
};
