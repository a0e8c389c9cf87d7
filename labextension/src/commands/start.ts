import { JupyterFrontEnd } from '@jupyterlab/application';
import { TranslationBundle } from '@jupyterlab/translation';
import { ReadonlyPartialJSONObject } from '@lumino/coreutils';

import { MlenvError } from '../api/client';
import { agree } from '../dialogs/consent';
import { pick } from '../dialogs/dialogs';
import { Model } from '../model/model';
import { EnvironmentTab } from '../tab/tab';
import { Tabs } from '../tab/tabs';
import { IPreset } from '../api/protocol';
import { MAIN } from '../endpoints';
import { ISettings } from '../settings';

export type Args = ReadonlyPartialJSONObject;

export interface ICommandOptions {
  app: JupyterFrontEnd;
  model: Model;
  tabs: Tabs;
  settings: () => ISettings;
  /** The folder shown in the file browser. */
  folder: () => string;
  trans: TranslationBundle;
}

export const text = (value: unknown): string =>
  typeof value === 'string' ? value : '';

/** The label of a tile. */
export function presetLabel(preset: IPreset, trans: TranslationBundle): string {
  const marked = /\b(gpu|cuda)\b/i.test(preset.title);
  return preset.gpu && !marked
    ? trans.__('%1 · GPU', preset.title)
    : preset.title;
}

/** Start what a tile stands for, or a person chooses, after all that may stand in the way. */
export async function start(
  options: ICommandOptions,
  args: Args
): Promise<EnvironmentTab | undefined> {
  const { app, model, tabs, trans } = options;
  const preset = text(args.preset) || (await choose(model, trans));
  if (!preset) {
    return undefined;
  }
  if (!model.engine?.available) {
    const { available, error } = await model.checkEngine();
    if (!available) {
      throw new MlenvError(
        error ?? { message: trans.__('No container engine answers.') }
      );
    }
  }
  if (model.preset(preset)?.consent) {
    await model.refreshPresets(); // they may have agreed elsewhere
  }
  const consent = model.preset(preset)?.consent;
  if (consent) {
    if (!(await agree(model.api, consent, trans))) {
      return undefined;
    }
    void model.refreshPresets();
  }
  const cwd = typeof args.cwd === 'string' ? args.cwd : options.folder();
  return tabs.start({
    preset,
    path: app.serviceManager.contents.localPath(cwd),
    name: text(args.name),
    endpoint: MAIN
  });
}

async function choose(model: Model, trans: TranslationBundle): Promise<string> {
  const chosen = await pick(
    trans.__('Start ML Environment'),
    model.presets,
    item =>
      trans.__(
        '%1 — %2',
        presetLabel(item, trans),
        item.description || item.name
      ),
    trans.__('There are no presets.'),
    trans
  );
  return chosen?.name ?? '';
}
