import {
  ILayoutRestorer,
  JupyterFrontEnd,
  JupyterFrontEndPlugin
} from '@jupyterlab/application';
import {
  ICommandPalette,
  ISessionContextDialogs,
  IThemeManager
} from '@jupyterlab/apputils';
import { IConsoleTracker } from '@jupyterlab/console';
import { PageConfig } from '@jupyterlab/coreutils';
import { FileDialog, IDefaultFileBrowser } from '@jupyterlab/filebrowser';
import { ILauncher } from '@jupyterlab/launcher';
import { INotebookTracker } from '@jupyterlab/notebook';
import { IRunningSessionManagers } from '@jupyterlab/running';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import { ReadonlyJSONObject } from '@lumino/coreutils';

import { Api } from './api/client';
import { addCommands } from './commands/commands';
import { showError } from './dialogs/dialogs';
import { KernelEnds } from './kernels/notifications';
import { followKernels } from './kernels/menu';
import { Tiles } from './plugins/launcher';
import { Model } from './model/model';
import { PresetProblems } from './dialogs/presetproblems';
import { askBeforeShutDown } from './commands/shutdown';
import { restartDeadOnes } from './kernels/restart';
import { runningManager } from './plugins/running';
import { Tabs } from './tab/tabs';
import { commonTheme } from './tab/theme';
import { CommandIDs, ISettings, PAGE_OPTION, PLUGIN_ID } from './tokens';

const DEFAULTS: ISettings = {
  showTiles: true,
  showLog: false,
  followTheme: true,
  confirmStop: true,
  confirmRemove: true
};

/** A preset of the project itself. */
const PRESET_FILE = /(^|\/)mlenv\.toml$/;

const plugin: JupyterFrontEndPlugin<void> = {
  id: PLUGIN_ID,
  description: 'ML environments in containers, one click away.',
  autoStart: true,
  optional: [
    ICommandPalette,
    IConsoleTracker,
    IDefaultFileBrowser,
    ILauncher,
    ILayoutRestorer,
    INotebookTracker,
    IRunningSessionManagers,
    ISessionContextDialogs,
    ISettingRegistry,
    IThemeManager,
    ITranslator
  ],
  activate: (
    app: JupyterFrontEnd,
    palette: ICommandPalette | null,
    consoles: IConsoleTracker | null,
    browser: IDefaultFileBrowser | null,
    launcher: ILauncher | null,
    restorer: ILayoutRestorer | null,
    notebooks: INotebookTracker | null,
    managers: IRunningSessionManagers | null,
    dialogs: ISessionContextDialogs | null,
    registry: ISettingRegistry | null,
    themes: IThemeManager | null,
    translator: ITranslator | null
  ) => {
    if (PageConfig.getOption(PAGE_OPTION) !== 'true') {
      return; // our server half is not there, e.g. in the Lab inside an environment
    }
    const trans = (translator ?? nullTranslator).load('jupyter_mlenv');
    const { contents, kernelspecs, serverSettings, sessions } =
      app.serviceManager;
    const model = new Model(new Api(serverSettings));
    let settings = DEFAULTS;
    const theme = () => {
      const name = themes?.theme;
      return name && settings.followTheme
        ? commonTheme(name, themes.isLight(name))
        : '';
    };
    const chooseFolder = async () => {
      const manager = browser?.model.manager;
      if (!manager) {
        return null;
      }
      const title = trans.__('The folder of the project');
      const { value } = await FileDialog.getExistingDirectory({
        manager,
        title
      });
      return value ? contents.localPath(value[0].path) : null;
    };
    const tabs = new Tabs(
      app,
      model,
      () => settings,
      theme,
      chooseFolder,
      trans
    );
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

    addCommands({
      app,
      model,
      tabs,
      settings: () => settings,
      folder: () => browser?.model.path ?? '',
      trans
    });

    // Not before there is something to ask about: what it does to Lab's commands is no business of other pages.
    const firstTab = () => {
      tabs.tracker.widgetAdded.disconnect(firstTab);
      askBeforeShutDown(app.commands, () => tabs.all, trans);
    };
    tabs.tracker.widgetAdded.connect(firstTab);

    const category = trans.__('ML Environments');
    for (const command of Object.values(CommandIDs)) {
      palette?.addItem({ command, category });
    }
    if (restorer) {
      void restorer.restore(tabs.tracker, {
        command: CommandIDs.open,
        // Lab forgets a tab that is restored from nothing.
        args: tab => tab.args as ReadonlyJSONObject,
        name: tab => tab.seed.key
      });
    }
    managers?.add(runningManager(model, app.commands, trans));

    const tiles = launcher
      ? new Tiles(launcher, model, () => settings.showTiles, trans)
      : null;
    void registry?.load(PLUGIN_ID).then(loaded => {
      const read = () => {
        settings = { ...DEFAULTS, ...(loaded.composite as object) };
        tiles?.update();
      };
      loaded.changed.connect(read);
      read();
    });

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
    model.connect();
  }
};

export default plugin;
