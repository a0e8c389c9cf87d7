import { TranslationBundle } from '@jupyterlab/translation';
import { Button, LabIcon } from '@jupyterlab/ui-components';
import React, { useEffect, useRef, useState } from 'react';

import { MlenvError } from '../api/client';
import { amount, clock, percent, plain } from '../format';
import { IProgress } from '../api/protocol';

/** The four steps a person sees; a phase belongs to one of them. */
const STEP: Record<string, number> = {
  queued: 0,
  plan: 0,
  stop: 0,
  pull: 1,
  build: 1,
  create: 2,
  start: 2,
  service: 3,
  done: 4
};

function phaseLabel(phase: string, page: string, trans: TranslationBundle) {
  switch (phase) {
    case 'pull':
      return trans.__('Downloading');
    case 'build':
      return trans.__('Building');
    case 'create':
    case 'start':
      return trans.__('Starting the environment');
    case 'service':
      return trans.__('Starting %1', page);
    case 'stop':
      return trans.__('Stopping');
    case 'done':
      return trans.__('Opening %1', page);
    default:
      return trans.__('Preparing');
  }
}

function Steps(props: {
  phase: string;
  page: string;
  trans: TranslationBundle;
}): JSX.Element {
  const { phase, page, trans } = props;
  const now = STEP[phase] ?? 0;
  // How the software came here is still told when it is there.
  const software = useRef(trans.__('Software'));
  if (phase === 'pull') {
    software.current = trans.__('Download');
  } else if (phase === 'build') {
    software.current = trans.__('Build');
  }
  const labels = [
    trans.__('Prepare'),
    software.current,
    trans.__('Start'),
    page
  ];
  return (
    <ol className="jp-mlenv-Steps">
      {labels.map((label, step) => (
        <li
          key={step}
          className={
            step < now ? 'jp-mod-done' : step === now ? 'jp-mod-now' : ''
          }
          aria-current={step === now ? 'step' : undefined}
        >
          {label}
        </li>
      ))}
    </ol>
  );
}

/** The time since `since`, ticking. */
export function Elapsed(props: { since: number }): JSX.Element {
  const [now, tick] = useState(Date.now());
  useEffect(() => {
    const timer = window.setInterval(() => tick(Date.now()), 1000);
    return () => window.clearInterval(timer);
  }, []);
  return (
    <span className="jp-mlenv-Elapsed" role="timer">
      {clock((now - props.since) / 1000)}
    </span>
  );
}

/** `done` per cent; `null` when unknown. */
function Bar(props: { done: number | null; label: string }): JSX.Element {
  const { done, label } = props;
  return (
    <div
      className={
        done === null ? 'jp-mlenv-Bar jp-mod-indeterminate' : 'jp-mlenv-Bar'
      }
      role="progressbar"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={done ?? undefined}
    >
      <div style={done === null ? undefined : { width: `${done}%` }} />
    </div>
  );
}

/** Something that takes a moment and cannot be cancelled. */
export function BusyView(props: {
  icon: LabIcon;
  title: string;
  detail: string;
}): JSX.Element {
  return (
    <div className="jp-mlenv-Card" aria-busy="true">
      <Head {...props} />
      <Bar done={null} label={props.title} />
    </div>
  );
}

export interface IProgressViewProps {
  icon: LabIcon;
  title: string;
  detail: string;
  /** What opens at the end, e.g. `JupyterLab`. */
  page: string;
  /** `null` while the server is asked. */
  progress: IProgress | null;
  since: number;
  cancelling: boolean;
  showLog: boolean;
  hasLog: boolean;
  onCancel: () => void;
  onToggleLog: () => void;
  trans: TranslationBundle;
}

export function ProgressView(props: IProgressViewProps): JSX.Element {
  const { progress, page, trans } = props;
  const phase = progress?.phase ?? 'queued';
  const done = progress ? percent(progress) : null;
  const label = phaseLabel(phase, page, trans);
  const counted = progress ? amount(progress, trans) : '';
  // Of a service the server knows the name alone, not what a person calls it.
  const message = phase === 'service' ? '' : progress?.message;
  const numbers = [counted, done === null ? '' : trans.__('%1 %', done)];
  return (
    <div className="jp-mlenv-Card" aria-busy="true">
      <Head icon={props.icon} title={props.title} detail={props.detail} />
      <Steps phase={phase} page={page} trans={trans} />
      <Bar done={done} label={label} />
      <div className="jp-mlenv-Progress-line">
        <span className="jp-mlenv-Progress-message" title={message || label}>
          {props.cancelling
            ? trans.__('Cancelling…')
            : message || trans.__('%1…', label)}
        </span>
        <span className="jp-mlenv-Progress-numbers">
          {numbers.filter(Boolean).join(' · ')}
        </span>
        <Elapsed since={props.since} />
      </div>
      {/* A screen reader hears a new phase, not every megabyte. */}
      <div className="jp-mlenv-visually-hidden" aria-live="polite">
        {props.cancelling ? trans.__('Cancelling') : label}
      </div>
      <div className="jp-mlenv-Buttons">
        <Button
          key="cancel"
          className="jp-mod-styled jp-mod-reject"
          disabled={props.cancelling}
          onClick={props.onCancel}
        >
          {trans.__('Cancel')}
        </Button>
        <Button
          key="log"
          className="jp-mod-styled jp-mlenv-quiet"
          aria-expanded={props.showLog}
          disabled={!props.hasLog}
          onClick={props.onToggleLog}
        >
          {props.showLog ? trans.__('Hide log') : trans.__('Show log')}
        </Button>
      </div>
    </div>
  );
}

function Head(props: {
  icon: LabIcon;
  title: string;
  detail: string;
}): JSX.Element {
  const { icon, title, detail } = props;
  return (
    <header className="jp-mlenv-Head">
      <icon.react tag="span" width="40px" height="40px" aria-hidden="true" />
      <div>
        <h2>{title}</h2>
        {detail && <p className="jp-mlenv-muted">{detail}</p>}
      </div>
    </header>
  );
}

export interface IAction {
  label: string;
  run: () => void;
  primary?: boolean;
}

export interface INoticeProps {
  icon: LabIcon;
  title: string;
  detail: string;
  message?: string;
  error?: MlenvError;
  actions: readonly IAction[];
  trans: TranslationBundle;
}

/** A state that waits for the person: what is, why, what to do. */
export function Notice(props: INoticeProps): JSX.Element {
  const { error, actions } = props;
  return (
    <div className="jp-mlenv-Card">
      <div role={error ? 'alert' : 'status'}>
        <Head icon={props.icon} title={props.title} detail={props.detail} />
        {error ? (
          <ErrorText error={error} trans={props.trans} />
        ) : (
          props.message && <p>{props.message}</p>
        )}
      </div>
      <div className="jp-mlenv-Buttons">
        {actions.map(action => (
          <Button
            key={action.label}
            className={
              action.primary
                ? 'jp-mod-styled jp-mod-accept'
                : 'jp-mod-styled jp-mlenv-quiet'
            }
            onClick={action.run}
          >
            {action.label}
          </Button>
        ))}
      </div>
    </div>
  );
}

/** Message, hint and the log lines that explain. */
export function ErrorText(props: {
  error: MlenvError;
  collapsed?: boolean;
  trans: TranslationBundle;
}): JSX.Element {
  const { error, collapsed, trans } = props;
  return (
    <div className="jp-mlenv-Error">
      <p className="jp-mlenv-Error-message">
        <Prose text={error.message} />
      </p>
      {error.hint && (
        <p className="jp-mlenv-Error-hint">
          <Prose text={error.hint} />
        </p>
      )}
      {error.log.length > 0 && (
        <details open={!collapsed}>
          <summary>{trans.__('Last lines of the log')}</summary>
          <pre tabIndex={0}>{error.log.map(plain).join('\n')}</pre>
        </details>
      )}
    </div>
  );
}

/** Text in which `commands` stand between backticks. */
function Prose(props: { text: string }): JSX.Element {
  const parts = props.text.split(/`([^`\n]+)`/);
  return (
    <>{parts.map((part, i) => (i % 2 ? <code key={i}>{part}</code> : part))}</>
  );
}
