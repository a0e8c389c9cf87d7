import { JupyterFrontEnd } from '@jupyterlab/application';
import { WidgetTracker } from '@jupyterlab/apputils';
import { TranslationBundle } from '@jupyterlab/translation';

import { showError } from '../dialogs/dialogs';
import { Model } from '../model/model';
import { Session } from '../model/session';
import { EnvironmentTab, ITabSeed } from './tab';
import { setTheme } from './theme';
import { IEnvironment, IStartRequest } from '../api/protocol';
import { isThemed, MAIN } from '../endpoints';
import { fillToolbar } from './toolbar';

/** The open tabs: at most one per environment and endpoint. */
export class Tabs {
  /** `theme`: of the Labs inside environments; empty to leave them alone. */
  constructor(
    app: JupyterFrontEnd,
    model: Model,
    settings: () => { showLog: boolean },
    theme: () => string,
    chooseFolder: () => Promise<string | null>,
    trans: TranslationBundle
  ) {
    this._app = app;
    this._chooseFolder = chooseFolder;
    this._model = model;
    this._settings = settings;
    this._theme = theme;
    this._trans = trans;
  }

  readonly tracker = new WidgetTracker<EnvironmentTab>({ namespace: 'mlenv' });

  /** The tab in front, if it is one of ours. */
  get current(): EnvironmentTab | null {
    const widget = this._app.shell.currentWidget;
    return widget instanceof EnvironmentTab ? widget : null;
  }

  find(id: string, endpoint: string): EnvironmentTab | undefined {
    return this.tracker.find(
      tab => tab.seed.id === id && tab.seed.endpoint === endpoint
    );
  }

  get all(): EnvironmentTab[] {
    return this.tracker.filter(() => true);
  }

  /** All tabs of an environment. */
  of(id: string): EnvironmentTab[] {
    return this.tracker.filter(tab => tab.seed.id === id);
  }

  /** A new tab at once, which asks the server and shows what happens. */
  start(request: IStartRequest): EnvironmentTab {
    const preset = this._model.preset(request.preset);
    const endpoint = request.endpoint ?? MAIN;
    const tab = this._add({
      id: '',
      endpoint,
      preset: request.preset,
      title: preset?.title ?? request.preset,
      icon: preset?.icon ?? '',
      workspace: request.workspace ?? request.path ?? '',
      name: request.name ?? '',
      key: ''
    });
    void tab.session.start(request).then(() => this._onNamed(tab));
    tab.content.showLog = this._settings().showLog;
    return tab;
  }

  /** The tab of an endpoint, made if it is not open. `seed`: what is known of a restored one. */
  open(id: string, endpoint: string, seed?: Partial<ITabSeed>): EnvironmentTab {
    const open = this._ensure(id, endpoint, seed);
    open.session.open();
    return open;
  }

  restart(id: string, endpoint: string): EnvironmentTab {
    const tab = this._ensure(id, endpoint);
    void tab.session.restart().then(refused => {
      if (refused) {
        const title = this._trans.__('The environment was not restarted');
        void showError(title, refused, this._trans);
      }
    });
    return tab;
  }

  private _ensure(
    id: string,
    endpoint: string,
    seed?: Partial<ITabSeed>
  ): EnvironmentTab {
    const open = this.find(id, endpoint);
    if (open) {
      this._app.shell.activateById(open.id);
      return open;
    }
    return this._add({
      title: id,
      preset: '',
      icon: '',
      workspace: '',
      name: '',
      key: '',
      ...seed,
      id,
      endpoint
    });
  }

  private _add(seed: ITabSeed): EnvironmentTab {
    const session = new Session(
      this._model,
      seed.endpoint,
      seed.id,
      environment => this._dress(environment, seed.endpoint)
    );
    const tab = new EnvironmentTab(
      session,
      seed,
      {
        activateById: id => this._app.shell.activateById(id),
        chooseFolder: this._chooseFolder
      },
      this._trans
    );
    fillToolbar(tab, this._app.commands, this._trans);
    this._app.shell.add(tab, 'main');
    this._app.shell.activateById(tab.id);
    // At once, so that it is in the layout that is saved because a tab has come: none may be saved after that.
    void this.tracker.add(tab);
    tab.seedChanged.connect(() => void this.tracker.save(tab));
    return tab;
  }

  /** A Lab inside a dark one is dark, too. What cannot be dressed is shown as it is. */
  private async _dress(
    environment: IEnvironment,
    endpoint: string
  ): Promise<void> {
    const page = environment.endpoints[endpoint];
    const theme = this._theme();
    if (
      theme &&
      isThemed(endpoint) &&
      page?.open.startsWith(`${page.url}lab`)
    ) {
      const { api } = this._model;
      await setTheme(api.settings, api.address(page.url), theme).catch(
        () => undefined
      );
    }
  }

  /** The server has said which environment it is: another tab may show it already. */
  private _onNamed(tab: EnvironmentTab): void {
    const { id, endpoint } = tab.session;
    const older = this.tracker.find(
      other =>
        other !== tab &&
        other.seed.id === id &&
        other.seed.endpoint === endpoint
    );
    if (!id || !older || tab.isDisposed) {
      return;
    }
    if (older.content.hold.shown.kind === 'none') {
      older.dispose(); // an old failure, or the same start: the new tab shows what happens now
      return;
    }
    if (['failed', 'cancelled'].includes(older.session.view.kind)) {
      void older.session.resume(); // its page is kept for what is unsaved in it
    }
    const wasCurrent = this.current === tab;
    tab.dispose();
    if (wasCurrent) {
      this._app.shell.activateById(older.id);
    }
  }

  private _app: JupyterFrontEnd;
  private _chooseFolder: () => Promise<string | null>;
  private _model: Model;
  private _settings: () => { showLog: boolean };
  private _theme: () => string;
  private _trans: TranslationBundle;
}
