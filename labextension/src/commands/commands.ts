import {
  closeIcon,
  deleteIcon,
  launchIcon,
  listIcon,
  refreshIcon,
  stopIcon
} from '@jupyterlab/ui-components';
import { CommandRegistry } from '@lumino/commands';

import { pick, pickEnvironment, showError } from '../dialogs/dialogs';
import { describe } from '../format';
import { letGo } from '../dialogs/guard';
import { environmentIcon, iconFor } from '../icons';
import { Args, ICommandOptions, presetLabel, start, text } from './start';
import { IEnvironment } from '../api/protocol';
import { MAIN } from '../endpoints';
import { CommandIDs } from '../ids';

export function addCommands(options: ICommandOptions): void {
  const { app, model, tabs, settings, trans } = options;

  /** Add a command whose errors a person gets to see. */
  const add = (
    id: string,
    command: Omit<CommandRegistry.ICommandOptions, 'execute' | 'label'> & {
      label: string | ((args: Args) => string);
      failed: string;
      execute: (args: Args) => Promise<unknown>;
    }
  ) => {
    const { execute, failed, ...rest } = command;
    app.commands.addCommand(id, {
      ...rest,
      execute: async args => {
        try {
          return await execute(args);
        } catch (reason) {
          await showError(failed, reason, trans);
          return undefined;
        }
      }
    });
  };

  /** The environment meant: by id, the tab in front, or chosen from a list. */
  const meant = async (
    args: Args,
    title: string,
    wanted: (environment: IEnvironment) => boolean = () => true
  ): Promise<string> => {
    const given = text(args.id) || tabs.current?.session.id;
    if (given) {
      return given;
    }
    const all = (await model.api.environments()).filter(wanted);
    return (await pickEnvironment(title, all, trans))?.id ?? '';
  };

  const name = (id: string) => {
    const environment = model.environment(id);
    return environment ? describe(environment, trans) : id;
  };

  const running = (environment: IEnvironment) =>
    environment.state === 'running';

  const presetOf = (args: Args) => model.preset(text(args.preset));

  add(CommandIDs.start, {
    label: args => {
      const preset = presetOf(args);
      return preset
        ? presetLabel(preset, trans)
        : trans.__('Start ML Environment…');
    },
    caption: args =>
      presetOf(args)?.description ??
      trans.__('Start an ML environment for the folder in the file browser'),
    icon: args => {
      const preset = presetOf(args);
      return preset ? iconFor(preset.icon, preset.gpu) : environmentIcon;
    },
    failed: trans.__('The environment was not started'),
    execute: args => start(options, args)
  });

  add(CommandIDs.open, {
    label: trans.__('Open ML Environment…'),
    caption: trans.__('Show an environment in a tab'),
    icon: environmentIcon,
    failed: trans.__('The environment was not opened'),
    execute: async args => {
      // Not the tab in front: that one is open.
      const id =
        text(args.id) ||
        (
          await pickEnvironment(
            trans.__('Open ML Environment'),
            await model.api.environments(),
            trans
          )
        )?.id;
      return id ? tabs.open(id, text(args.endpoint) || MAIN, args) : undefined;
    }
  });

  add(CommandIDs.openTensorBoard, {
    label: trans.__('Open TensorBoard of ML Environment'),
    caption: trans.__("Show an environment's TensorBoard in a tab"),
    icon: iconFor('tensorboard'),
    failed: trans.__('TensorBoard was not opened'),
    execute: async args => {
      const id = await meant(args, trans.__('Open TensorBoard'), running);
      return id ? tabs.open(id, 'tensorboard') : undefined;
    }
  });

  add(CommandIDs.openInBrowser, {
    label: trans.__('Open ML Environment in New Browser Tab'),
    caption: trans.__('Show an environment in a browser tab of its own'),
    icon: launchIcon,
    failed: trans.__('The environment was not opened'),
    execute: async args => {
      const id = await meant(args, trans.__('Open in browser'), running);
      if (!id) {
        return;
      }
      const environment =
        model.environment(id) ?? (await model.api.environment(id));
      const endpoint =
        text(args.endpoint) || tabs.current?.session.endpoint || MAIN;
      const page = environment.endpoints[endpoint];
      if (page) {
        window.open(model.api.address(page.open), '_blank', 'noopener');
      }
    }
  });

  add(CommandIDs.openPort, {
    label: trans.__('Open Port of ML Environment…'),
    caption: trans.__(
      'Show a web app that runs in an environment, such as Streamlit'
    ),
    icon: launchIcon,
    failed: trans.__('The port was not opened'),
    execute: async args => {
      const title = trans.__('Open Port');
      const id = await meant(args, title, running);
      const chosen = id
        ? await pick(
            title,
            await model.api.ports(id),
            ({ port, name }) => (name ? `${port} — ${name}` : `${port}`),
            trans.__(
              'Nothing listens on a port there. Start a web app in a terminal of the environment, then try again.'
            ),
            trans
          )
        : undefined;
      if (chosen) {
        window.open(model.api.address(chosen.app), '_blank', 'noopener');
      }
    }
  });

  /** Whether a person, if asked, lets an environment end, and what is unsaved in its tabs is seen to. */
  const sure = (
    id: string,
    title: string,
    body: string,
    verb: string,
    ask: boolean
  ) =>
    letGo(
      tabs.of(id),
      {
        title,
        body,
        label: ask ? verb : undefined,
        saveLabel: trans.__('Save All and %1', verb),
        discardLabel: trans.__('%1 without Saving', verb)
      },
      trans
    );

  const sureToStop = (id: string, title: string, verb: string, args: Args) =>
    sure(
      id,
      title,
      trans.__(
        'This shuts down all kernels and terminals in %1. Saved files and installed packages are kept.',
        name(id)
      ),
      verb,
      settings().confirmStop && !args.sure
    );

  add(CommandIDs.stop, {
    label: trans.__('Stop ML Environment'),
    caption: trans.__('Stop an environment; it can be started again'),
    icon: stopIcon,
    failed: trans.__('The environment was not stopped'),
    execute: async args => {
      const title = trans.__('Stop ML Environment');
      const id = await meant(args, title, running);
      if (id && (await sureToStop(id, title, trans.__('Stop'), args))) {
        await model.stop(id);
      }
    }
  });

  add(CommandIDs.restart, {
    label: trans.__('Restart ML Environment'),
    caption: trans.__('Stop an environment and start it again'),
    icon: refreshIcon,
    failed: trans.__('The environment was not restarted'),
    execute: async args => {
      const title = trans.__('Restart ML Environment');
      const endpoint =
        text(args.endpoint) || tabs.current?.session.endpoint || MAIN;
      const id = await meant(args, title);
      if (id && (await sureToStop(id, title, trans.__('Restart'), args))) {
        return tabs.restart(id, endpoint);
      }
    }
  });

  add(CommandIDs.remove, {
    label: trans.__('Remove ML Environment'),
    caption: trans.__('Remove an environment; your files stay'),
    icon: deleteIcon,
    failed: trans.__('The environment was not removed'),
    execute: async args => {
      const title = trans.__('Remove ML Environment');
      const id = await meant(args, title);
      const body = trans.__(
        'Remove %1? Packages you installed in it are deleted. Saved files of your project are not touched.',
        name(id)
      );
      const ask = settings().confirmRemove;
      if (id && (await sure(id, title, body, trans.__('Remove'), ask))) {
        await model.remove(id);
      }
    }
  });

  add(CommandIDs.showLog, {
    label: trans.__('Show Log of ML Environment'),
    caption: trans.__('Show what an environment printed'),
    icon: listIcon,
    failed: trans.__('The log cannot be shown'),
    execute: async args => {
      const id = await meant(args, trans.__('Show log'));
      if (id) {
        const endpoint =
          text(args.endpoint) || tabs.current?.session.endpoint || MAIN;
        const tab = tabs.open(id, endpoint);
        tab.content.showLog = true;
        return tab;
      }
    }
  });

  add(CommandIDs.cancel, {
    label: trans.__('Cancel Start of ML Environment'),
    caption: trans.__('Cancel a download, build or start'),
    icon: closeIcon,
    failed: trans.__('It was not cancelled'),
    execute: async args => {
      const given = text(args.id) || tabs.current?.session.id || '';
      const job =
        model.job(text(args.job)) ??
        model.runningJob(given) ??
        (await pick(
          trans.__('Cancel Start'),
          model.runningJobs,
          item =>
            trans.__('%1 — %2', name(item.environment), item.progress.message),
          trans.__('Nothing is being started now.'),
          trans
        ));
      if (job) {
        await model.api.cancel(job.id);
      }
    }
  });
}
