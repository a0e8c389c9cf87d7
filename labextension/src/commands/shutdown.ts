import { TranslationBundle } from '@jupyterlab/translation';
import { CommandRegistry } from '@lumino/commands';

import { IHolder, letGo } from '../dialogs/guard';

/** Lab's own command that ends the server, through which alone these pages can save. */
const SHUT_DOWN = 'filemenu:shutdown';

/**
 * Ask about unsaved work in environments before Lab ends its server.
 *
 * The menu's command is another extension's and tells nobody before it runs, so it is caught where all commands are run.
 */
export function askBeforeShutDown(
  commands: Pick<CommandRegistry, 'execute'>,
  holders: () => readonly IHolder[],
  trans: TranslationBundle
): void {
  const execute = commands.execute.bind(commands);
  commands.execute = async (id, args) => {
    if (id === SHUT_DOWN) {
      const question = {
        title: trans.__('Save your work'),
        body: trans.__(
          'Without the Jupyter server, pages of environments cannot save.'
        ),
        saveLabel: trans.__('Save All and Go On'),
        discardLabel: trans.__('Go On without Saving')
      };
      if (!(await letGo(holders(), question, trans))) {
        return undefined;
      }
    }
    return execute(id, args) as Promise<unknown>;
  };
}
