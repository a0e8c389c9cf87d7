import { TranslationBundle } from '@jupyterlab/translation';
import { ReactWidget } from '@jupyterlab/ui-components';
import { Message } from '@lumino/messaging';
import { ISignal, Signal } from '@lumino/signaling';
import React from 'react';

import { Hold } from './hold';
import { EnvironmentLog, JobLog } from './logview';
import { Page } from './endpointframe';
import { Session } from '../model/session';
import { View } from '../model/view';
import { BackAgain, ITabLook, Status } from './status';
import { IConsent } from '../api/protocol';
import { saveAllIn, Unsaved, unsavedIn } from './unsaved';

/** What the content has its tab do. */
export interface ITabActions {
  /** Start what the tab is about, made anew if need be. */
  again: () => void;
  /** Ask for the agreement that a start needs, and start then. */
  agree: (consent: IConsent) => void;
  /** Start in another folder that the person chooses. */
  elsewhere: () => void;
  close: () => void;
  /** Load the page anew; `saving`: after it has saved what it can, else after asking. */
  reload: (saving: boolean) => void;
}

/** Below the toolbar: progress, a notice, or the environment's page; and the log. */
export class TabContent extends ReactWidget {
  constructor(
    session: Session,
    look: () => ITabLook,
    actions: ITabActions,
    trans: TranslationBundle
  ) {
    super();
    this._session = session;
    this._look = look;
    this._actions = actions;
    this._trans = trans;
    this.addClass('jp-mlenv-Tab');
    this.node.tabIndex = -1;
    this.hold = new Hold(session, () => this.unsaved());
    this.hold.changed.connect(() => this.update());
    session.changed.connect(() => {
      if (this._logUntilPage && session.view.kind === 'frame') {
        this.showLog = false;
      }
      this.update();
    });
  }

  readonly hold: Hold;

  /** What the page that is shown has not saved. */
  unsaved(): Promise<Unsaved> {
    return unsavedIn(this._frame);
  }

  /** Have the page save all that it can. */
  saveAll(): Promise<void> {
    return saveAllIn(this._frame);
  }

  /** Emitted when the page inside got the keyboard's focus. */
  get pageFocused(): ISignal<this, void> {
    return this._pageFocused;
  }

  get showLog(): boolean {
    return this._showLog;
  }
  set showLog(value: boolean) {
    if (value !== this._showLog) {
      this._showLog = value;
      this._logUntilPage = value && this._session.view.kind === 'working';
      this._showLogChanged.emit(value);
      this.update();
    }
  }

  get showLogChanged(): ISignal<this, boolean> {
    return this._showLogChanged;
  }

  dispose(): void {
    if (!this.isDisposed) {
      window.removeEventListener('blur', this._onBlur);
      super.dispose();
      Signal.clearData(this);
    }
  }

  protected render(): JSX.Element {
    const view = this._session.view;
    const shown = this.hold.shown;
    // In this order: a frame that another place in it would load anew.
    return (
      <>
        {view.kind === 'frame' && this._banner()}
        {view.kind !== 'frame' && this._status(view, shown.kind === 'held')}
        {shown.kind === 'back' && this._backAgain(shown.canSave)}
        {shown.kind !== 'none' && (
          <Page
            key={shown.page.key}
            url={shown.page.url}
            parts={shown.page.parts}
            title={this._look().title}
            connected={() => this._session.model.connected}
            onFocus={this._onFocus}
          />
        )}
        {this._showLog && this._log(view)}
      </>
    );
  }

  protected onAfterAttach(msg: Message): void {
    super.onAfterAttach(msg);
    window.addEventListener('blur', this._onBlur);
  }

  protected onBeforeDetach(msg: Message): void {
    window.removeEventListener('blur', this._onBlur);
    super.onBeforeDetach(msg);
  }

  protected onActivateRequest(msg: Message): void {
    super.onActivateRequest(msg);
    if (document.activeElement !== this._frame) {
      this._frame?.focus();
    }
  }

  private get _frame(): HTMLIFrameElement | null {
    return this.node.querySelector('iframe');
  }

  private _status(view: View, held: boolean): JSX.Element {
    return (
      <div
        key="status"
        className={held ? 'jp-mlenv-Status jp-mod-held' : 'jp-mlenv-Status'}
      >
        <Status
          session={this._session}
          view={view}
          look={this._look()}
          held={held}
          showLog={this._showLog}
          onToggleLog={this._toggleLog}
          onAgain={this._actions.again}
          onAgree={this._actions.agree}
          onElsewhere={this._actions.elsewhere}
          onClose={this._actions.close}
          trans={this._trans}
        />
        {held && (
          <p className="jp-mlenv-Held" role="status">
            {this._trans.__(
              'Your unsaved changes are still here, in the page below. It can save them when the environment runs again.'
            )}
          </p>
        )}
      </div>
    );
  }

  private _backAgain(canSave: boolean): JSX.Element {
    return (
      <div key="back" className="jp-mlenv-Status jp-mod-held">
        <BackAgain
          look={this._look()}
          canSave={canSave}
          onSave={() => this._actions.reload(true)}
          onReload={() => this._actions.reload(false)}
          onKeep={() => this.hold.keep()}
          trans={this._trans}
        />
      </div>
    );
  }

  private _banner(): JSX.Element | null {
    const { model, environment } = this._session;
    const trans = this._trans;
    let text = '';
    if (model.engineDown) {
      text =
        model.engine?.error?.message ??
        trans.__('The engine that runs environments does not answer.');
    } else if (model.synced && !model.connected) {
      text = trans.__('The connection to the Jupyter server is lost. Trying…');
    } else if (environment?.warnings.length) {
      text = environment.warnings.join(' ');
    }
    return text ? (
      <div key="banner" className="jp-mlenv-Banner" role="status">
        {text}
      </div>
    ) : null;
  }

  private _log(view: View): JSX.Element | null {
    const { id, lastJob, model } = this._session;
    const running = view.kind === 'frame' || view.kind === 'stopped';
    if (lastJob && !running) {
      return (
        <JobLog key={lastJob} model={model} job={lastJob} trans={this._trans} />
      );
    }
    return id && running ? (
      <EnvironmentLog key={id} model={model} id={id} trans={this._trans} />
    ) : null;
  }

  private _toggleLog = () => {
    this.showLog = !this.showLog;
  };

  private _onBlur = () => {
    if (this._frame && document.activeElement === this._frame) {
      this._onFocus();
    }
  };

  private _onFocus = () => {
    if (!this.isDisposed && this._frame) {
      this._pageFocused.emit();
    }
  };

  private _actions: ITabActions;
  /** A log opened to watch the start has done its work when the page is there. */
  private _logUntilPage = false;
  private _look: () => ITabLook;
  private _pageFocused = new Signal<this, void>(this);
  private _session: Session;
  private _showLog = false;
  private _showLogChanged = new Signal<this, boolean>(this);
  private _trans: TranslationBundle;
}
