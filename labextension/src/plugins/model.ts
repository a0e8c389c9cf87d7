import {
  JupyterFrontEnd,
  JupyterFrontEndPlugin
} from '@jupyterlab/application';
import { PageConfig } from '@jupyterlab/coreutils';
import { IDefaultFileBrowser } from '@jupyterlab/filebrowser';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { Api } from '../api/client';
import { PAGE_OPTION, PluginIDs } from '../ids';
import { Model } from '../model/model';
import { IEnvironments } from '../tokens';

/** A preset of the project itself. */
const PRESET_FILE = /(^|\/)mlenv\.toml$/;

/** Follows the server's environments, and the presets of the folder in the file browser. */
export const model: JupyterFrontEndPlugin<IEnvironments> = {
  id: PluginIDs.model,
  description: 'The ML environments of the server.',
  autoStart: true,
  provides: IEnvironments,
  optional: [IDefaultFileBrowser, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    browser: IDefaultFileBrowser | null,
    translator: ITranslator | null
  ) => {
    if (PageConfig.getOption(PAGE_OPTION) !== 'true') {
      return { model: null };
    }
    const trans = (translator ?? nullTranslator).load('jupyter_mlenv');
    const { contents, serverSettings } = app.serviceManager;
    const model = new Model(new Api(serverSettings, trans));
    // A project may bring presets of its own: the tiles are those of the folder in the file browser.
    browser?.model.pathChanged.connect((_, { newValue }) => {
      void model.refreshPresets(contents.localPath(newValue));
    });
    contents.fileChanged.connect((_, change) => {
      const paths = [change.oldValue?.path, change.newValue?.path];
      if (paths.some(path => path && PRESET_FILE.test(path))) {
        void model.refreshPresets();
      }
    });
    // Not before all plugins listen, so that they see the first snapshot.
    void app.started.then(() => model.connect());
    return { model };
  }
};
