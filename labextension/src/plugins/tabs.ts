import {
  ILayoutRestorer,
  JupyterFrontEnd,
  JupyterFrontEndPlugin
} from '@jupyterlab/application';
import {
  Dialog,
  ICommandPalette,
  IThemeManager,
  showDialog
} from '@jupyterlab/apputils';
import { FileDialog, IDefaultFileBrowser } from '@jupyterlab/filebrowser';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import { ReadonlyJSONObject } from '@lumino/coreutils';

import { addCommands } from '../commands/commands';
import { askBeforeShutDown } from '../commands/shutdown';
import { JobNotes } from '../dialogs/jobnotes';
import { CommandIDs, PluginIDs } from '../ids';
import { Tabs } from '../tab/tabs';
import { commonTheme } from '../tab/theme';
import {
  IEnvironments,
  IEnvironmentSettings,
  IEnvironmentTabs
} from '../tokens';

/** Environments in tabs, and the commands that start, open, stop and remove them. */
export const tabs: JupyterFrontEndPlugin<IEnvironmentTabs> = {
  id: PluginIDs.tabs,
  description: 'ML environments in tabs, and their commands.',
  autoStart: true,
  requires: [IEnvironments, IEnvironmentSettings],
  provides: IEnvironmentTabs,
  optional: [
    ICommandPalette,
    IDefaultFileBrowser,
    ILayoutRestorer,
    IThemeManager,
    ITranslator
  ],
  activate: (
    app: JupyterFrontEnd,
    { model }: IEnvironments,
    settings: IEnvironmentSettings,
    palette: ICommandPalette | null,
    browser: IDefaultFileBrowser | null,
    restorer: ILayoutRestorer | null,
    themes: IThemeManager | null,
    translator: ITranslator | null
  ) => {
    if (!model) {
      return { tabs: null };
    }
    const trans = (translator ?? nullTranslator).load('jupyter_mlenv');
    const theme = () => {
      const name = themes?.theme;
      return name && settings.current.followTheme
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
      const { contents } = app.serviceManager;
      return value ? contents.localPath(value[0].path) : null;
    };
    const tabs = new Tabs(
      app,
      model,
      () => settings.current,
      theme,
      chooseFolder,
      trans
    );
    addCommands({
      app,
      model,
      tabs,
      settings: () => settings.current,
      folder: () => browser?.model.path ?? '',
      trans
    });
    const notes = new JobNotes(
      model,
      note =>
        void showDialog({
          title: trans.__('Noticed while starting'),
          body: note,
          buttons: [Dialog.okButton({ label: trans.__('Close') })]
        }),
      trans
    );
    model.changed.connect(() => notes.update());
    const category = trans.__('ML Environments');
    for (const command of Object.values(CommandIDs)) {
      palette?.addItem({ command, category });
    }

    // Not before there is something to ask about: what it does to Lab's commands is no business of other pages.
    const firstTab = () => {
      tabs.tracker.widgetAdded.disconnect(firstTab);
      askBeforeShutDown(app.commands, () => tabs.all, trans);
    };
    tabs.tracker.widgetAdded.connect(firstTab);

    if (restorer) {
      void restorer.restore(tabs.tracker, {
        command: CommandIDs.open,
        // Lab forgets a tab that is restored from nothing.
        args: tab => tab.args as ReadonlyJSONObject,
        name: tab => tab.seed.key
      });
    }
    return { tabs };
  }
};
