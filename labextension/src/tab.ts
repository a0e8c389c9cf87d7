import { MainAreaWidget } from '@jupyterlab/apputils';
import { TranslationBundle } from '@jupyterlab/translation';
import { LabIcon } from '@jupyterlab/ui-components';
import { ReadonlyJSONObject } from '@lumino/coreutils';

import { ITabLook, TabContent } from './content';
import { tabTitle } from './format';
import { iconFor, tensorboardIcon } from './icons';
import { Session } from './session';
import { NOTEBOOK, TENSORBOARD } from './tokens';

/** What a tab is about before the server has said more, and all that is kept to restore it. */
export interface ITabSeed {
  id: string;
  endpoint: string;
  preset: string;
  /** The environment's title, e.g. `Python`. */
  title: string;
  icon: string;
  workspace: string;
  name: string;
}

/** A main-area tab: one endpoint of one environment. */
export class EnvironmentTab extends MainAreaWidget<TabContent> {
  constructor(session: Session, seed: ITabSeed, trans: TranslationBundle) {
    super({
      content: new TabContent(
        session,
        () => this.look,
        () => this._again(),
        () => this.dispose(),
        trans
      )
    });
    this.session = session;
    this._seed = seed;
    this._trans = trans;
    this.addClass('jp-mlenv-MainAreaWidget');
    this.title.closable = true;
    session.changed.connect(this._update, this);
    this.content.pageFocused.connect(this._onPageFocused, this);
    this._update();
  }

  readonly session: Session;

  /** Enough to show the same tab after a reload. */
  get seed(): ITabSeed {
    return this._seed;
  }

  get args(): ReadonlyJSONObject {
    return { ...this._seed };
  }

  /** Names the tab in the saved layout; empty until the environment has a name. */
  get key(): string {
    return this._seed.id ? `${this._seed.id}:${this._seed.endpoint}` : '';
  }

  get look(): ITabLook {
    const { endpoint, icon, name, title, workspace } = this._seed;
    const page = this.pageTitle(endpoint);
    return {
      icon: endpoint === TENSORBOARD ? tensorboardIcon : iconFor(icon),
      environment: title,
      name: endpoint === NOTEBOOK ? title : page,
      page,
      workspace,
      title: tabTitle(endpoint === NOTEBOOK ? title : page, workspace, name)
    };
  }

  pageTitle(endpoint: string): string {
    switch (endpoint) {
      case NOTEBOOK:
        return 'JupyterLab';
      case TENSORBOARD:
        return 'TensorBoard';
      default:
        return (
          this.session.environment?.endpoints[endpoint]?.title ??
          this._trans.__('Port %1', endpoint)
        );
    }
  }

  dispose(): void {
    if (!this.isDisposed) {
      super.dispose();
      this.session.dispose();
    }
  }

  private _again(): void {
    const { endpoint, name, preset, workspace } = this._seed;
    void this.session.start({ endpoint, name, preset, workspace });
  }

  private _update(): void {
    const environment = this.session.environment;
    if (environment) {
      const { icon, id, name, preset, title, workspace } = environment;
      const endpoint = this._seed.endpoint;
      this._seed = { endpoint, icon, id, name, preset, title, workspace };
    }
    const look = this.look;
    this.title.label = look.title;
    if (this._icon !== look.icon) {
      this._icon = look.icon;
      // The shell sizes only the icon that a tab has when it is added.
      this.title.icon = look.icon.bindprops({ stylesheet: 'mainAreaTab' });
    }
    this.title.caption = `${look.title}\n${look.workspace}`;
  }

  /** A click inside a frame reaches nobody outside: tell Lab's focus tracker, or it believes another tab is current. */
  private _onPageFocused(): void {
    this.content.node.dispatchEvent(new FocusEvent('focus'));
  }

  private _icon: LabIcon | null = null;
  private _seed: ITabSeed;
  private _trans: TranslationBundle;
}
