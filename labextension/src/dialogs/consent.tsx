import { Dialog, showDialog } from '@jupyterlab/apputils';
import { TranslationBundle } from '@jupyterlab/translation';
import React from 'react';

import { Api, MlenvError } from '../api/client';
import { basename } from '../format';
import { IConsent } from '../api/protocol';

/** What an error says a person has to agree to first. */
export function consentOf(error: MlenvError): IConsent | undefined {
  return error.code === 'consent_required'
    ? (error.details.consent as IConsent | undefined)
    : undefined;
}

/**
 * Show a person what the preset of a project would run and see, and tell the server that they agree.
 *
 * What has changed while they read is shown again. Resolves to whether they agree; rejects with an `MlenvError`.
 */
export async function agree(
  api: Api,
  consent: IConsent,
  trans: TranslationBundle
): Promise<boolean> {
  let asked: IConsent = consent;
  let changed = false;
  while (await ask(asked, changed, trans)) {
    try {
      await api.agree(asked.folder, asked.digest);
      return true;
    } catch (reason) {
      const fresh =
        reason instanceof MlenvError ? consentOf(reason) : undefined;
      if (!fresh) {
        throw reason;
      }
      asked = fresh;
      changed = true;
    }
  }
  return false;
}

async function ask(
  consent: IConsent,
  changed: boolean,
  trans: TranslationBundle
): Promise<boolean> {
  const { file, folder, says } = consent;
  const { button } = await showDialog({
    title: trans.__(
      'Start the environment that comes with %1?',
      basename(folder)
    ),
    body: (
      <div className="jp-mlenv-Consent">
        {changed && (
          <p role="alert">
            <strong>
              {trans.__('The files have changed meanwhile. Read again:')}
            </strong>
          </p>
        )}
        <p>
          {trans.__(
            'This environment is described by a file of the project, which may have come with a repository that somebody else wrote:'
          )}
        </p>
        <p>
          <code>{file}</code>
        </p>
        <p>{trans.__('If you agree:')}</p>
        <ul tabIndex={0} aria-label={trans.__('What it does')}>
          {says.map((sentence, i) => (
            <li key={i}>{sentence}</li>
          ))}
        </ul>
        <p className="jp-mlenv-muted">
          {trans.__(
            'You are asked again when it has changed, or a file that it is built from.'
          )}
        </p>
      </div>
    ),
    buttons: [
      Dialog.cancelButton({ label: trans.__('Cancel') }),
      Dialog.okButton({ label: trans.__('Agree and start') })
    ],
    defaultButton: 0
  });
  return button.accept;
}
