import { TranslationBundle } from '@jupyterlab/translation';
import { LabIcon } from '@jupyterlab/ui-components';

import { IEnvironment } from './api/protocol';
import { iconFor } from './icons';

/** An endpoint as a page knows it before the server has said what an environment has. */
interface IKnownEndpoint {
  title: string;
  /** Its drawing; empty for that of the environment. */
  icon: string;
  /** Whether its page is a Lab, which follows the theme of the Lab around it. */
  themed?: boolean;
}

/** The endpoint that a click on a tile opens, and whose tab is named like its environment. */
export const MAIN = 'notebook';

/** The endpoints that every preset has, in the order of their buttons. */
const KNOWN: Readonly<Record<string, IKnownEndpoint>> = {
  notebook: { title: 'JupyterLab', icon: '', themed: true },
  tensorboard: { title: 'TensorBoard', icon: 'tensorboard' }
};

/** The name of an endpoint for a person: the server's, else ours; a port is called so. */
export function endpointTitle(
  name: string,
  environment: IEnvironment | undefined,
  trans: TranslationBundle
): string {
  return (
    environment?.endpoints[name]?.title ||
    known(name)?.title ||
    trans.__('Port %1', name)
  );
}

/** The icon of an endpoint; `icon` is that of its environment. */
export function endpointIcon(
  name: string,
  environment: IEnvironment | undefined,
  icon: string
): LabIcon {
  const own = known(name)?.icon ?? environment?.endpoints[name]?.icon;
  return iconFor(own || icon);
}

/** The endpoints that the tab of one has buttons for: all others of its environment, or of any before it is known. */
export function otherEndpoints(
  name: string,
  environment: IEnvironment | undefined
): string[] {
  const all = Object.keys(environment ? environment.endpoints : KNOWN);
  return all.filter(other => other !== name);
}

/** Whether its page is a Lab, which follows the theme of the Lab around it. */
export function isThemed(name: string): boolean {
  return known(name)?.themed ?? false;
}

function known(name: string): IKnownEndpoint | undefined {
  return Object.hasOwn(KNOWN, name) ? KNOWN[name] : undefined;
}
