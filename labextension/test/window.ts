import { JupyterFrontEnd } from '@jupyterlab/application';
import { nullTranslator, TranslationBundle } from '@jupyterlab/translation';
import { CommandRegistry } from '@lumino/commands';
import { Widget } from '@lumino/widgets';

import { addCommands } from '../src/commands/commands';
import { Model } from '../src/model/model';
import { Tabs } from '../src/tab/tabs';
import { environment, job, Server, Socket } from './support';

export const ID = 'python-0123456789';
export const trans: TranslationBundle = nullTranslator.load('jupyter_mlenv');

/** A window with our tabs and commands, whose server has said what it has. */
export class Window {
  constructor(
    environments = [environment()],
    jobs: ReturnType<typeof job>[] = []
  ) {
    Socket.all = [];
    const { answers } = this.server;
    answers['GET environments'] = { body: { environments } };
    answers[`GET environments/${ID}`] = { body: environment() };
    const started = { environment: environment(), job: job() };
    for (const verb of ['start', 'restart']) {
      answers[`POST environments/${ID}/${verb}`] = { body: started };
    }
    answers['POST environments'] = { body: started };
    answers[`POST environments/${ID}/stop`] = {
      body: environment({ state: 'stopped' })
    };
    answers[`DELETE environments/${ID}`] = { status: 204 };
    this.model = new Model(this.server.api);
    const app = {
      commands: this.commands,
      shell: {
        currentWidget: null as Widget | null,
        add: (tab: Widget) => {
          this.added.push(tab);
        },
        activateById: (id: string) => {
          app.shell.currentWidget =
            this.added.find(tab => tab.id === id) ?? null;
        }
      },
      serviceManager: { contents: { localPath: (path: string) => path } }
    };
    this.tabs = new Tabs(
      app as unknown as JupyterFrontEnd,
      this.model,
      () => ({ showLog: false }),
      () => '',
      () => Promise.resolve(null),
      trans
    );
    addCommands({
      app: app as unknown as JupyterFrontEnd,
      model: this.model,
      tabs: this.tabs,
      settings: () => this.settings,
      folder: () => 'myproject',
      trans
    });
    this.model.connect();
    Socket.last.open();
    Socket.last.snapshot(environments, jobs);
  }

  readonly added: Widget[] = [];
  readonly commands = new CommandRegistry();
  readonly model: Model;
  readonly server = new Server();
  readonly settings = {
    confirmRemove: true,
    confirmStop: true,
    followTheme: true,
    showLog: false,
    showTiles: true
  };
  readonly tabs: Tabs;

  dispose(): void {
    this.tabs.all.forEach(tab => tab.dispose());
    this.model.dispose();
  }
}
