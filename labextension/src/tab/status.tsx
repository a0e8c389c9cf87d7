import { TranslationBundle } from '@jupyterlab/translation';
import { LabIcon } from '@jupyterlab/ui-components';
import React from 'react';

import { MlenvError } from '../api/client';
import { consentOf } from '../dialogs/consent';
import { BusyView, IAction, Notice, ProgressView } from './progress';
import { Session } from '../model/session';
import { View } from '../model/view';
import { IConsent, IEnvironment } from '../api/protocol';

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

export interface IStatusProps {
  session: Session;
  view: View;
  look: ITabLook;
  /** Whether the page from before is still there, since it has something unsaved. */
  held: boolean;
  showLog: boolean;
  onToggleLog: () => void;
  onAgain: () => void;
  /** Show what a person has to agree to before it can start. */
  onAgree: (consent: IConsent) => void;
  /** Choose another folder to start in. */
  onElsewhere: () => void;
  onClose: () => void;
  trans: TranslationBundle;
}

/** What a tab says where its environment serves no page: progress, or what is, why, and what to do. */
export function Status(props: IStatusProps): JSX.Element | null {
  const { session, view, look, held, trans } = props;
  const { environment, icon, name, page, workspace } = look;
  const notice = (
    title: string,
    message: string | undefined,
    actions: IAction[],
    error?: MlenvError
  ) => (
    <Notice
      icon={icon}
      title={title}
      detail={workspace}
      message={message}
      error={error}
      actions={actions}
      trans={trans}
    />
  );
  const close = { label: trans.__('Close'), run: props.onClose };
  const log = {
    label: props.showLog ? trans.__('Hide log') : trans.__('Show log'),
    run: props.onToggleLog
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
          showLog={props.showLog}
          hasLog={!!session.lastJob}
          onCancel={() => void session.cancel()}
          onToggleLog={props.onToggleLog}
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
        [remedy(props, view.error), ...(session.lastJob ? [log] : []), close],
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
        whyStopped(view.environment, held, trans),
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
            run: props.onAgain,
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
          {trans.__('Asking the Jupyter server about %1…', look.title)}
        </p>
      );
    default:
      return null;
  }
}

/** What most likely helps. */
function remedy(props: IStatusProps, error: MlenvError): IAction {
  const { session, trans } = props;
  const consent = consentOf(error);
  if (consent) {
    return {
      label: trans.__('See what it would run…'),
      run: () => props.onAgree(consent),
      primary: true
    };
  }
  if (error.code === 'workspace_forbidden') {
    return {
      label: trans.__('Choose a folder…'),
      run: props.onElsewhere,
      primary: true
    };
  }
  return {
    label: trans.__('Try again'),
    run: () => void session.retry(),
    primary: true
  };
}

/** The page below is from before its environment stopped, and the environment runs again. */
export function BackAgain(props: {
  look: ITabLook;
  /** Whether the page can be told to save. */
  canSave: boolean;
  onSave: () => void;
  onReload: () => void;
  onKeep: () => void;
  trans: TranslationBundle;
}): JSX.Element {
  const { look, canSave, trans } = props;
  const save = {
    label: trans.__('Save All and Reload'),
    run: props.onSave,
    primary: true
  };
  return (
    <Notice
      icon={look.icon}
      title={trans.__('%1 runs again', look.environment)}
      detail={look.workspace}
      message={trans.__(
        'The page below is from before and was kept, since it has unsaved changes. It can save them again. Reload it then: its kernels and terminals have ended.'
      )}
      actions={[
        ...(canSave ? [save] : []),
        { label: trans.__('Reload'), run: props.onReload, primary: !canSave },
        { label: trans.__('Keep this page'), run: props.onKeep }
      ]}
      trans={trans}
    />
  );
}

function whyStopped(
  environment: IEnvironment,
  held: boolean,
  trans: TranslationBundle
): string {
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
  return held
    ? trans.__(
        'It was stopped in this window, in another one, or by a command.'
      )
    : trans.__(
        'Your files and installed packages are unchanged. Variables in kernels are gone.'
      );
}
