import { Dialog, InputDialog, showDialog } from '@jupyterlab/apputils';
import { TranslationBundle } from '@jupyterlab/translation';
import { ReactWidget } from '@jupyterlab/ui-components';
import React from 'react';

import { toMlenvError } from '../api/client';
import { describe, stateLabel } from '../format';
import { ErrorText } from '../tab/progress';
import { IEnvironment } from '../api/protocol';

/** Tell a person what went wrong and what to do. */
export async function showError(
  title: string,
  reason: unknown,
  trans: TranslationBundle
): Promise<void> {
  const error = toMlenvError(reason);
  const body = ReactWidget.create(
    <ErrorText error={error} collapsed trans={trans} />
  );
  body.addClass('jp-mlenv-Dialog');
  await showDialog({
    title,
    body,
    buttons: [Dialog.okButton({ label: trans.__('Close') })]
  });
}

export async function confirm(
  title: string,
  body: string,
  label: string,
  trans: TranslationBundle
): Promise<boolean> {
  const { button } = await showDialog({
    title,
    body,
    buttons: [
      Dialog.cancelButton({ label: trans.__('Cancel') }),
      Dialog.warnButton({ label })
    ]
  });
  return button.accept;
}

/** Let a person choose one of `items`; `undefined` when there is none or nothing was chosen. */
export async function pick<T>(
  title: string,
  items: readonly T[],
  label: (item: T) => string,
  none: string,
  trans: TranslationBundle
): Promise<T | undefined> {
  if (items.length === 0) {
    await showDialog({
      title,
      body: none,
      buttons: [Dialog.okButton({ label: trans.__('Close') })]
    });
    return undefined;
  }
  const labels = items.map(label);
  const { value } = await InputDialog.getItem({ title, items: labels });
  return value === null ? undefined : items[labels.indexOf(value)];
}

export function pickEnvironment(
  title: string,
  environments: readonly IEnvironment[],
  trans: TranslationBundle
): Promise<IEnvironment | undefined> {
  return pick(
    title,
    environments,
    environment =>
      trans.__(
        '%1 — %2 — %3',
        describe(environment, trans),
        stateLabel(environment, trans),
        environment.id
      ),
    trans.__('There is no such environment now.'),
    trans
  );
}
