import { IRunningSessions } from '@jupyterlab/running';
import { TranslationBundle } from '@jupyterlab/translation';
import { CommandRegistry } from '@lumino/commands';

import { showError } from '../dialogs/dialogs';
import { describe, stateLabel } from '../format';
import { iconFor } from '../icons';
import { Model } from '../model/model';
import { CommandIDs } from '../ids';

/** The section in the panel of running things. */
export function runningManager(
  model: Model,
  commands: CommandRegistry,
  trans: TranslationBundle
): IRunningSessions.IManager {
  const running = () =>
    model.environments.filter(({ state }) =>
      ['pending', 'starting', 'running'].includes(state)
    );
  // Without tabs there are no commands, and nothing unsaved in them.
  const stop = (id: string, sure: boolean) =>
    commands.hasCommand(CommandIDs.stop)
      ? commands.execute(CommandIDs.stop, { id, sure })
      : model
          .stop(id)
          .catch(reason =>
            showError(
              trans.__('The environment was not stopped'),
              reason,
              trans
            )
          );
  return {
    name: trans.__('ML Environments'),
    running: () =>
      running().map(environment => ({
        context: 'mlenv-environment',
        icon: () => iconFor(environment.icon),
        label: () => describe(environment, trans),
        labelTitle: () =>
          trans.__(
            '%1\n%2 · %3',
            environment.workspace,
            environment.id,
            stateLabel(environment, trans)
          ),
        open: commands.hasCommand(CommandIDs.open)
          ? () => void commands.execute(CommandIDs.open, { id: environment.id })
          : undefined,
        shutdown: () => void stop(environment.id, false)
      })),
    runningChanged: model.changed,
    refreshRunning: () => undefined, // the watch keeps it fresh
    // The panel has asked already; what is unsaved is asked about all the same.
    shutdownAll: () => running().forEach(({ id }) => void stop(id, true)),
    shutdownLabel: trans.__('Stop'),
    shutdownAllLabel: trans.__('Stop All'),
    shutdownAllConfirmationText: trans.__(
      'Stop all ML environments? This shuts down their kernels and terminals. Saved files and installed packages are kept.'
    )
  };
}
