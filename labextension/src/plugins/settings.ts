import { JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ISettingRegistry } from '@jupyterlab/settingregistry';

import { PluginIDs } from '../ids';
import { Settings } from '../settings';
import { IEnvironmentSettings } from '../tokens';

/** Loads the settings. */
export const settings: JupyterFrontEndPlugin<IEnvironmentSettings> = {
  id: PluginIDs.settings,
  description: 'Settings of ML environments.',
  autoStart: true,
  provides: IEnvironmentSettings,
  optional: [ISettingRegistry],
  activate: (_, registry: ISettingRegistry | null) => {
    const settings = new Settings();
    void registry?.load(PluginIDs.settings).then(loaded => {
      const read = () => settings.update(loaded.composite);
      loaded.changed.connect(read);
      read();
    });
    return settings;
  }
};
