import { Clipboard } from '@jupyterlab/apputils';
import { TranslationBundle } from '@jupyterlab/translation';
import {
  copyIcon,
  refreshIcon,
  ToolbarButtonComponent
} from '@jupyterlab/ui-components';
import React, { useEffect, useLayoutEffect, useRef, useState } from 'react';

import { toMlenvError } from '../api/client';
import { plain } from '../format';
import { Model } from '../model/model';

export interface ILogViewProps {
  title: string;
  lines: readonly string[];
  /** Lines before the first one shown. */
  missing?: number;
  empty: string;
  onRefresh?: () => void;
  trans: TranslationBundle;
}

/** A log that follows its end unless the reader scrolled up. */
export function LogView(props: ILogViewProps): JSX.Element {
  const { lines, trans } = props;
  const box = useRef<HTMLPreElement>(null);
  const atEnd = useRef(true);
  const text = lines.map(plain).join('\n');

  useLayoutEffect(() => {
    if (box.current && atEnd.current) {
      box.current.scrollTop = box.current.scrollHeight;
    }
  }, [text]);

  const onScroll = (event: React.UIEvent<HTMLPreElement>) => {
    const { scrollTop, clientHeight, scrollHeight } = event.currentTarget;
    atEnd.current = scrollTop + clientHeight >= scrollHeight - 8;
  };

  return (
    <section className="jp-mlenv-Log" aria-label={props.title}>
      <header className="jp-mlenv-Log-header">
        <span className="jp-mlenv-Log-title">{props.title}</span>
        {props.onRefresh && (
          <ToolbarButtonComponent
            key="refresh"
            icon={refreshIcon}
            tooltip={trans.__('Read the log again')}
            onClick={props.onRefresh}
          />
        )}
        <ToolbarButtonComponent
          key="copy"
          icon={copyIcon}
          tooltip={trans.__('Copy the log')}
          enabled={lines.length > 0}
          onClick={() => Clipboard.copyToSystem(text)}
        />
      </header>
      <pre
        className="jp-mlenv-Log-lines"
        ref={box}
        onScroll={onScroll}
        tabIndex={0}
      >
        {props.missing ? (
          <span className="jp-mlenv-muted">
            {trans._n(
              '(one earlier line is not kept)\n',
              '(%1 earlier lines are not kept)\n',
              props.missing
            )}
          </span>
        ) : null}
        {text || <span className="jp-mlenv-muted">{props.empty}</span>}
      </pre>
    </section>
  );
}

/** The live log of a job. */
export function JobLog(props: {
  model: Model;
  job: string;
  trans: TranslationBundle;
}): JSX.Element {
  const { model, job, trans } = props;
  const [, redraw] = useState(0);

  useEffect(() => {
    let frame = 0;
    const onLog = (_: Model, id: string) => {
      if (id === job && !frame) {
        // Lines come in faster than a screen shows them.
        frame = requestAnimationFrame(() => {
          frame = 0;
          redraw(count => count + 1);
        });
      }
    };
    model.logChanged.connect(onLog);
    const following = model.follow(job);
    return () => {
      following.dispose();
      model.logChanged.disconnect(onLog);
      cancelAnimationFrame(frame);
    };
  }, [model, job]);

  const log = model.log(job);
  return (
    <LogView
      title={trans.__('Log')}
      lines={log.lines}
      missing={log.missing}
      empty={trans.__('Nothing yet.')}
      trans={trans}
    />
  );
}

/** What the environment itself printed, read once and on request. */
export function EnvironmentLog(props: {
  model: Model;
  id: string;
  trans: TranslationBundle;
}): JSX.Element {
  const { model, id, trans } = props;
  const [lines, setLines] = useState<readonly string[]>([]);
  const [empty, setEmpty] = useState(trans.__('Reading…'));
  const [asked, refresh] = useState(0);

  useEffect(() => {
    let current = true;
    model.api.logs(id).then(
      answer => {
        if (current) {
          setLines(answer);
          setEmpty(trans.__('The log is empty.'));
        }
      },
      (reason: unknown) => {
        if (current) {
          const { message, hint } = toMlenvError(reason);
          setLines([]);
          setEmpty(`${message} ${hint}`);
        }
      }
    );
    return () => {
      current = false;
    };
  }, [model, id, asked]);

  return (
    <LogView
      title={trans.__('Log of this environment')}
      lines={lines}
      empty={empty}
      onRefresh={() => refresh(count => count + 1)}
      trans={trans}
    />
  );
}
