import { Token } from '@lumino/coreutils';

import { Model } from './model/model';
import { Settings } from './settings';
import { Tabs } from './tab/tabs';

/** The environments of the server. Other extensions can require it to list, start and follow them. */
export interface IEnvironments {
  /** `null` where the server has no half of ours, as in the JupyterLab inside an environment. */
  readonly model: Model | null;
}

export const IEnvironments = new Token<IEnvironments>(
  'jupyter-mlenv:IEnvironments',
  'The ML environments, jobs and presets of the server, as a model that follows them.'
);

/** The settings of ML environments that a person has chosen. */
export const IEnvironmentSettings = new Token<Settings>(
  'jupyter-mlenv:IEnvironmentSettings',
  'The settings of ML environments, and a signal of their changes.'
);

export type IEnvironmentSettings = Settings;

/** The tabs of environments. Who requires them can also run their commands. */
export interface IEnvironmentTabs {
  /** `null` where there are no environments. */
  readonly tabs: Tabs | null;
}

export const IEnvironmentTabs = new Token<IEnvironmentTabs>(
  'jupyter-mlenv:IEnvironmentTabs',
  'The tabs of ML environments, which come with the commands to start, open, stop and remove them.'
);
