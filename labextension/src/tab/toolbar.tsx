import { TranslationBundle } from '@jupyterlab/translation';
import {
  LabIcon,
  launchIcon,
  linkIcon,
  listIcon,
  ReactWidget,
  refreshIcon,
  stopIcon,
  Toolbar,
  ToolbarButtonComponent,
  UseSignal
} from '@jupyterlab/ui-components';
import { CommandRegistry } from '@lumino/commands';
import React from 'react';

import { stateLabel } from '../format';
import { endpointIcon, endpointTitle, otherEndpoints } from '../endpoints';
import { EnvironmentTab } from './tab';
import { CommandIDs } from '../ids';

/** Fill the slim bar above an environment's page. */
export function fillToolbar(
  tab: EnvironmentTab,
  commands: CommandRegistry,
  trans: TranslationBundle
): void {
  const { session, toolbar } = tab;
  const run = (command: string, args = {}) =>
    void commands.execute(command, {
      id: session.id,
      endpoint: session.endpoint,
      ...args
    });
  const running = () =>
    session.environment?.state === 'running' && session.view.kind === 'frame';

  const add = (name: string, render: () => JSX.Element) => {
    const widget = ReactWidget.create(
      <UseSignal signal={session.changed}>{render}</UseSignal>
    );
    widget.addClass('jp-ToolbarButton');
    toolbar.addItem(name, widget);
  };

  const state = ReactWidget.create(
    <UseSignal signal={session.changed}>
      {() => <State tab={tab} trans={trans} />}
    </UseSignal>
  );
  state.addClass('jp-mlenv-State-item');
  toolbar.addItem('state', state);
  toolbar.addItem('spacer', Toolbar.createSpacerItem());

  add('others', () => (
    <>
      {otherEndpoints(session.endpoint, session.environment).map(other => {
        const title = endpointTitle(other, session.environment, trans);
        return (
          <ToolbarButtonComponent
            key={other}
            icon={endpointIcon(other, session.environment, tab.seed.icon)}
            label={title}
            tooltip={trans.__('Open %1 in a tab of its own', title)}
            enabled={running()}
            onClick={() => run(CommandIDs.open, { endpoint: other })}
          />
        );
      })}
    </>
  ));
  const button = (
    name: string,
    icon: LabIcon,
    tooltip: string,
    command: string
  ) =>
    add(name, () => (
      <ToolbarButtonComponent
        icon={icon}
        tooltip={tooltip}
        enabled={running()}
        onClick={() => run(command)}
      />
    ));
  const { openPort, openInBrowser, restart, stop } = CommandIDs;
  button('port', linkIcon, trans.__('Open a web app by its port'), openPort);
  button(
    'browser',
    launchIcon,
    trans.__('Open in a new browser tab'),
    openInBrowser
  );
  button('restart', refreshIcon, trans.__('Restart this environment'), restart);
  button('stop', stopIcon, trans.__('Stop this environment'), stop);
  const log = ReactWidget.create(
    <UseSignal signal={tab.content.showLogChanged}>
      {() => (
        <ToolbarButtonComponent
          icon={listIcon}
          pressed={tab.content.showLog}
          tooltip={
            tab.content.showLog ? trans.__('Hide log') : trans.__('Show log')
          }
          onClick={() => {
            tab.content.showLog = !tab.content.showLog;
          }}
        />
      )}
    </UseSignal>
  );
  log.addClass('jp-ToolbarButton');
  toolbar.addItem('log', log);
}

/** Name and state dot. */
function State(props: {
  tab: EnvironmentTab;
  trans: TranslationBundle;
}): JSX.Element {
  const { tab, trans } = props;
  const { session } = tab;
  const environment = session.environment;
  const view = session.view;
  let mood: string = environment?.state ?? 'stopped';
  let label = environment ? stateLabel(environment, trans) : '';
  if (view.kind === 'working') {
    mood = 'starting';
    label = trans.__('Starting');
  } else if (view.kind === 'ending') {
    mood = 'starting';
    label = trans.__('Stopping');
  } else if (view.kind === 'failed') {
    mood = 'failed';
    label = trans.__('Failed');
  } else if (view.kind === 'gone') {
    mood = 'stopped';
    label = trans.__('Removed');
  }
  return (
    <span className="jp-mlenv-State" title={environment?.id ?? ''}>
      <span className="jp-mlenv-Dot" data-state={mood} aria-hidden="true" />
      <span className="jp-mlenv-State-name">{tab.seed.title}</span>
      <span className="jp-mlenv-muted">{label}</span>
    </span>
  );
}
