import { MainAreaWidget } from '@jupyterlab/apputils';
import { TranslationBundle } from '@jupyterlab/translation';
import { LabIcon } from '@jupyterlab/ui-components';
import { ReadonlyJSONObject, UUID } from '@lumino/coreutils';
import { ISignal, Signal } from '@lumino/signaling';

import { agree } from '../dialogs/consent';
import { TabContent } from './content';
import { showError } from '../dialogs/dialogs';
import { tabTitle } from '../format';
import { IHolder, letGo, save } from '../dialogs/guard';
import { Session } from '../model/session';
import { ITabLook } from './status';
import { IConsent } from '../api/protocol';
import { endpointIcon, endpointTitle, MAIN } from '../endpoints';
import { Unsaved } from './unsaved';

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
  /** Names the tab in the saved layout; empty for one that was not there before. */
  key: string;
}

/** What a tab needs of the window around it. */
export interface ITabShell {
  /** Bring the tab with this DOM id to the front. */
  activateById(id: string): void;
  /** Have a person choose a folder: its path below the server's root, `null` if they do not. */
  chooseFolder(): Promise<string | null>;
}

/** A main-area tab: one endpoint of one environment. */
export class EnvironmentTab
  extends MainAreaWidget<TabContent>
  implements IHolder
{
  constructor(
    session: Session,
    seed: ITabSeed,
    shell: ITabShell,
    trans: TranslationBundle
  ) {
    const actions = {
      again: () => this._start({ workspace: this._seed.workspace }),
      agree: (consent: IConsent) => void this._agree(consent),
      elsewhere: () => void this._elsewhere(),
      close: () => this.close(),
      reload: (saving: boolean) => void this._reload(saving)
    };
    super({
      content: new TabContent(session, () => this.look, actions, trans)
    });
    this.session = session;
    this._seed = { ...seed, key: seed.key || UUID.uuid4() };
    this._shell = shell;
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

  /** What the tab is restored from; nothing while it could not be, since its environment has no name. */
  get args(): ReadonlyJSONObject | undefined {
    return this._seed.id ? { ...this._seed } : undefined;
  }

  /** Emitted when what is kept to restore the tab has changed. */
  get seedChanged(): ISignal<this, void> {
    return this._seedChanged;
  }

  get look(): ITabLook {
    const { endpoint, icon, name, title, workspace } = this._seed;
    const { environment } = this.session;
    const page = endpointTitle(endpoint, environment, this._trans);
    const shown = endpoint === MAIN ? title : page;
    return {
      icon: endpointIcon(endpoint, environment, icon),
      environment: title,
      name: shown,
      page,
      workspace,
      title: tabTitle(shown, workspace, name, this._trans)
    };
  }

  /** What its page has not saved. Nothing can be saved while the environment does not serve it. */
  async unsaved(): Promise<Unsaved> {
    const unsaved = await this.content.unsaved();
    return unsaved.kind === 'some' && this.content.hold.shown.kind === 'held'
      ? { ...unsaved, canSave: false }
      : unsaved;
  }

  saveAll(): Promise<void> {
    return this.content.saveAll();
  }

  reveal(): void {
    this._shell.activateById(this.id);
  }

  dispose(): void {
    if (!this.isDisposed) {
      super.dispose();
      this.session.dispose();
    }
  }

  protected onCloseRequest(): void {
    void this._closeIfLetGo();
  }

  private async _closeIfLetGo(): Promise<void> {
    if (this._closing) {
      return;
    }
    const trans = this._trans;
    this._closing = true;
    const go = await letGo(
      [this],
      {
        title: trans.__('Save your work'),
        body: '',
        saveLabel: trans.__('Save All and Close'),
        discardLabel: trans.__('Close without Saving')
      },
      trans
    );
    this._closing = false;
    if (go) {
      this.dispose();
    }
  }

  private async _reload(saving: boolean): Promise<void> {
    const trans = this._trans;
    const go = saving
      ? save([this], trans)
      : letGo(
          [this],
          {
            title: trans.__('Reload the page'),
            body: '',
            saveLabel: trans.__('Save All and Reload'),
            discardLabel: trans.__('Reload without Saving')
          },
          trans
        );
    if (await go) {
      this.content.hold.reload();
    }
  }

  private async _agree(consent: IConsent): Promise<void> {
    const trans = this._trans;
    try {
      if (await agree(this.session.model.api, consent, trans)) {
        void this.session.retry();
      }
    } catch (reason) {
      await showError(trans.__('Your answer was not taken'), reason, trans);
    }
  }

  private async _elsewhere(): Promise<void> {
    const path = await this._shell.chooseFolder();
    if (path !== null) {
      this._start({ path });
    }
  }

  private _start(where: { path: string } | { workspace: string }): void {
    const { endpoint, name, preset } = this._seed;
    void this.session.start({ endpoint, name, preset, ...where });
  }

  private _update(): void {
    const environment = this.session.environment;
    if (environment) {
      const { icon, id, name, preset, title, workspace } = environment;
      const seed = { icon, id, name, preset, title, workspace };
      if (!isSubset(seed, this._seed)) {
        this._seed = { ...this._seed, ...seed };
        this._seedChanged.emit();
      }
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

  private _closing = false;
  private _icon: LabIcon | null = null;
  private _seed: ITabSeed;
  private _seedChanged = new Signal<this, void>(this);
  private _shell: ITabShell;
  private _trans: TranslationBundle;
}

function isSubset(part: Partial<ITabSeed>, seed: ITabSeed): boolean {
  const names = Object.keys(part) as (keyof ITabSeed)[];
  return names.every(name => part[name] === seed[name]);
}
