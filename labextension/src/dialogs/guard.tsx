import { Dialog, showDialog } from '@jupyterlab/apputils';
import { TranslationBundle } from '@jupyterlab/translation';
import React from 'react';

import { confirm } from './dialogs';
import { Unsaved } from '../tab/unsaved';

/** What may hold unsaved work: a tab. */
export interface IHolder {
  readonly title: { readonly label: string };
  unsaved(): Promise<Unsaved>;
  /** Have it save all that it can. */
  saveAll(): Promise<void>;
  /** Bring it to the front: it may have to ask something itself. */
  reveal(): void;
}

/** What a person is asked before something is done that may lose work. */
export interface IQuestion {
  title: string;
  /** What will happen, as whole sentences. */
  body: string;
  /** Of the button that does it where nothing is unsaved; without one, nothing is asked then. */
  label?: string;
  /** Of the buttons where something is unsaved. */
  saveLabel: string;
  discardLabel: string;
}

type Holding = {
  holder: IHolder;
  unsaved: Extract<Unsaved, { kind: 'some' }>;
};

/** Ask a person, and save what they want saved. Resolves to whether to go on. */
export async function letGo(
  holders: readonly IHolder[],
  question: IQuestion,
  trans: TranslationBundle
): Promise<boolean> {
  const found = await holding(holders);
  if (found.length === 0) {
    const { title, body, label } = question;
    return label ? confirm(title, body, label, trans) : true;
  }
  switch (await ask(found, question, trans)) {
    case 'discard':
      return true;
    case 'save':
      return save(holders, trans);
    case 'cancel':
      return false;
  }
}

/** Have these save everything. Resolves to whether nothing is unsaved any more; if not, a person has been told. */
export async function save(
  holders: readonly IHolder[],
  trans: TranslationBundle
): Promise<boolean> {
  for (const { holder } of await holding(holders)) {
    holder.reveal();
    await holder.saveAll();
  }
  const left = await holding(holders);
  if (left.length === 0) {
    return true;
  }
  left[0].holder.reveal();
  await showDialog({
    title: trans.__('Not everything was saved'),
    body: (
      <div>
        <Names found={left} />
        <p>
          {trans.__('Nothing was closed. Look into the page and save there.')}
        </p>
      </div>
    ),
    buttons: [Dialog.okButton({ label: trans.__('Close') })]
  });
  return false;
}

async function holding(holders: readonly IHolder[]): Promise<Holding[]> {
  const all = await Promise.all(
    holders.map(async holder => ({ holder, unsaved: await holder.unsaved() }))
  );
  return all.filter((one): one is Holding => one.unsaved.kind === 'some');
}

async function ask(
  found: readonly Holding[],
  question: IQuestion,
  trans: TranslationBundle
): Promise<'cancel' | 'discard' | 'save'> {
  const canSave = found.some(({ unsaved }) => unsaved.canSave);
  const buttons = [
    Dialog.cancelButton({ label: trans.__('Cancel') }),
    Dialog.warnButton({ label: question.discardLabel }),
    ...(canSave ? [Dialog.okButton({ label: question.saveLabel })] : [])
  ];
  const { button } = await showDialog({
    title: question.title,
    body: (
      <div>
        {question.body && <p>{question.body}</p>}
        <p>{trans.__('There are unsaved changes:')}</p>
        <Names found={found} />
        {!canSave && (
          <p>{trans.__('To keep them, cancel and save in the page itself.')}</p>
        )}
      </div>
    ),
    buttons,
    // Return saves; where that is not possible, it does nothing.
    defaultButton: canSave ? 2 : 0
  });
  return buttons[1].label === button.label
    ? 'discard'
    : button.accept
      ? 'save'
      : 'cancel';
}

function Names(props: { found: readonly Holding[] }): JSX.Element {
  return (
    <ul className="jp-mlenv-Unsaved">
      {props.found.map(({ holder, unsaved }, i) => (
        <li key={i}>
          {[holder.title.label, unsaved.names.join(', ')]
            .filter(Boolean)
            .join(': ')}
        </li>
      ))}
    </ul>
  );
}
