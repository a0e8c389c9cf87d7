import { kernels } from './plugins/kernels';
import { launcher } from './plugins/launcher';
import { model } from './plugins/model';
import { running } from './plugins/running';
import { settings } from './plugins/settings';
import { tabs } from './plugins/tabs';

export {
  IEnvironments,
  IEnvironmentSettings,
  IEnvironmentTabs
} from './tokens';

export default [settings, model, tabs, launcher, running, kernels];
