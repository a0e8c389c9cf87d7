import { TranslationBundle } from '@jupyterlab/translation';
import { LabIcon, ReactWidget } from '@jupyterlab/ui-components';
import { Message } from '@lumino/messaging';
import { ISignal, Signal } from '@lumino/signaling';
import React from 'react';

import { MlenvError } from './api';
import { EnvironmentLog, JobLog } from './logview';
import { Page } from './page';
import { BusyView, IAction, Notice, ProgressView } from './progress';
import { Session, View } from './session';
import { IEnvironment } from './tokens';

/** What the tab's content needs to know of its tab. */
export interface ITabLook {
  icon: LabIcon;
  /** Of the environment, without its folder. */
  environment: string;
  /** What is started: the environment, or a page of it. */
  name: string;
  /** What is opened, e.g. `JupyterLab`. */
  page: string;
  workspace: string;
  title: string;
}

/** Below the toolbar: progress, a notice, or the environment's page; and the log. */
export class TabContent extends ReactWidget {
  constructor(
    session: Session,
    look: () => ITabLook,
    again: () => void,
    close: () => void,
    trans: TranslationBundle
  ) {
    super();
    this._session = session;
    this._look = look;
    this._again = again;
    this._close = close;
    this._trans = trans;
    this.addClass('jp-mlenv-Tab');
    this.node.tabIndex = -1;
    session.changed.connect(() => {
      if (this._logUntilPage && session.view.kind === 'frame') {
        this.showLog = false;
      }
      this.update();
    });
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
    const frame = view.kind === 'frame';
    return (
      <>
        {frame && this._banner()}
        {frame ? (
          <Page
            key={view.key}
            url={view.url}
            parts={this._session.pageUrl}
            title={this._look().title}
            connected={() => this._session.model.connected}
            onFocus={this._onFocus}
          />
        ) : (
          <div key="status" className="jp-mlenv-Status">
            {this._status(view)}
          </div>
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
    const iframe = this.node.querySelector('iframe');
    if (iframe && document.activeElement !== iframe) {
      iframe.focus();
    }
  }

  private _status(view: View): JSX.Element | null {
    const trans = this._trans;
    const session = this._session;
    const { environment, icon, name, page, workspace } = this._look();
    const notice = (
      text: string,
      message: string | undefined,
      actions: IAction[],
      error?: MlenvError
    ) => (
      <Notice
        icon={icon}
        title={text}
        detail={workspace}
        message={message}
        error={error}
        actions={actions}
        trans={trans}
      />
    );
    const close = { label: trans.__('Close'), run: this._close };
    const log = {
      label: this._showLog ? trans.__('Hide log') : trans.__('Show log'),
      run: this._toggleLog
    };
    switch (view.kind) {
      case 'working':
        return (
          <ProgressView
            icon={icon}
            title={trans.__('Starting %1', name)}
            detail={workspace}
            page={page}
            progress={view.job?.progress ?? null}
            since={view.since}
            cancelling={view.cancelling}
            showLog={this._showLog}
            hasLog={!!session.lastJob}
            onCancel={() => void session.cancel()}
            onToggleLog={this._toggleLog}
            trans={trans}
          />
        );
      case 'ending':
        return (
          <BusyView
            icon={icon}
            title={trans.__('Stopping %1', environment)}
            detail={workspace}
          />
        );
      case 'failed':
        return notice(
          trans.__('%1 could not be started', name),
          undefined,
          [
            {
              label: trans.__('Try again'),
              run: () => void session.retry(),
              primary: true
            },
            ...(session.lastJob ? [log] : []),
            close
          ],
          view.error
        );
      case 'cancelled':
        return notice(
          trans.__('Cancelled'),
          trans.__('What was finished until now is reused next time.'),
          [
            {
              label: trans.__('Start again'),
              run: () => void session.retry(),
              primary: true
            },
            close
          ]
        );
      case 'stopped':
        return notice(
          trans.__('%1 is stopped', environment),
          this._whyStopped(view.environment),
          [
            {
              label: trans.__('Start'),
              run: () => void session.resume(),
              primary: true
            },
            log,
            close
          ]
        );
      case 'gone':
        return notice(
          trans.__('%1 no longer exists', environment),
          trans.__('It was removed. The files of your project are untouched.'),
          [
            {
              label: trans.__('Create it again'),
              run: this._again,
              primary: true
            },
            close
          ]
        );
      case 'engine-down': {
        const error = session.model.engine?.error;
        return notice(
          trans.__('Environments cannot be reached now'),
          trans.__('This page goes on by itself when they can.'),
          [
            {
              label: trans.__('Check again'),
              run: () => void session.model.checkEngine().catch(() => undefined)
            },
            close
          ],
          error ? new MlenvError(error) : undefined
        );
      }
      case 'connecting':
        return (
          <p className="jp-mlenv-muted" role="status">
            {trans.__(
              'Asking the Jupyter server about %1…',
              this._look().title
            )}
          </p>
        );
      default:
        return null;
    }
  }

  private _whyStopped(environment: IEnvironment): string {
    const trans = this._trans;
    if (environment.oom_killed) {
      return trans.__(
        'It ran out of memory and was ended. Start it again, or give its preset more memory.'
      );
    }
    if (environment.state === 'failed' && environment.exit_code !== null) {
      return trans.__(
        'It ended by itself with exit code %1. Its log may say why.',
        environment.exit_code
      );
    }
    return trans.__('Your files are where they were. Kernels start afresh.');
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
    if (document.activeElement === this.node.querySelector('iframe')) {
      this._onFocus();
    }
  };

  private _onFocus = () => {
    if (!this.isDisposed && this.node.querySelector('iframe')) {
      this._pageFocused.emit();
    }
  };

  private _again: () => void;
  private _close: () => void;
  /** A log opened to watch the start has done its work when the page is there. */
  private _logUntilPage = false;
  private _look: () => ITabLook;
  private _pageFocused = new Signal<this, void>(this);
  private _session: Session;
  private _showLog = false;
  private _showLogChanged = new Signal<this, boolean>(this);
  private _trans: TranslationBundle;
}
