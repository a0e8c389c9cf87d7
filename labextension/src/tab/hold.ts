import { ISignal, Signal } from '@lumino/signaling';

import { Session } from '../model/session';
import { Unsaved } from './unsaved';

/** A page of an environment. Another `key`: of another run of its container. */
export interface IPage {
  url: string;
  /** The address below which the page's parts are. */
  parts: string;
  key: string;
}

/** The page in a tab. */
export type Shown =
  | { kind: 'none' }
  /** The environment serves it. */
  | { kind: 'live'; page: IPage }
  /** The environment does not, but the page holds what is saved nowhere. */
  | { kind: 'held'; page: IPage }
  /** The environment serves `next`; `page` is from before and has still something to save. */
  | { kind: 'back'; page: IPage; next: IPage; canSave: boolean };

const NONE: Shown = { kind: 'none' };

/** Decides which page a tab shows: one with unsaved work goes only when the person lets it go. */
export class Hold {
  /** `ask`: what the page that is shown has not saved. */
  constructor(session: Session, ask: () => Promise<Unsaved>) {
    this._session = session;
    this._ask = ask;
    session.changed.connect(this._follow, this);
  }

  get shown(): Shown {
    return this._shown;
  }

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  /** Load the page anew, whatever the one from before holds. */
  reload(): void {
    if (this._shown.kind === 'back') {
      this._show({ kind: 'live', page: this._shown.next });
    }
  }

  /** Go on with the page from before. */
  keep(): void {
    if (this._shown.kind === 'back') {
      const { page, next } = this._shown;
      this._show({ kind: 'live', page: { ...next, key: page.key } });
      this._kept = next.key;
    }
  }

  private _follow(): void {
    const view = this._session.view;
    const shown = this._shown;
    if (view.kind === 'frame') {
      const { url, parts, key } = view;
      this._serves({ url, parts, key });
    } else if (shown.kind === 'live' || shown.kind === 'back') {
      void this._leave(shown.page);
    }
  }

  private _serves(next: IPage): void {
    const shown = this._shown;
    if (shown.kind === 'none') {
      this._show({ kind: 'live', page: next });
    } else if (shown.kind === 'back') {
      this._shown = { ...shown, next };
    } else if (shown.page.key !== next.key && this._kept !== next.key) {
      void this._replace(shown.page, next);
    } else if (shown.kind === 'held') {
      this._show({ kind: 'live', page: shown.page });
    }
  }

  /** The environment no longer serves the page. */
  private async _leave(page: IPage): Promise<void> {
    const held: Shown = { kind: 'held', page };
    this._show(held);
    const { kind } = await this._ask();
    if (kind === 'none' && this._shown === held) {
      this._show(NONE);
    }
  }

  /** The environment serves another page now. */
  private async _replace(page: IPage, next: IPage): Promise<void> {
    const held: Shown = { kind: 'held', page };
    this._shown = held;
    const unsaved = await this._ask();
    const { view } = this._session;
    if (this._shown === held && view.kind === 'frame') {
      this._show(
        unsaved.kind === 'none'
          ? { kind: 'live', page: next }
          : { kind: 'back', page, next, canSave: unsaved.canSave }
      );
    }
  }

  private _show(shown: Shown): void {
    this._shown = shown;
    this._changed.emit();
  }

  private _ask: () => Promise<Unsaved>;
  private _changed = new Signal<this, void>(this);
  /** The run whose page was not wanted. */
  private _kept = '';
  private _session: Session;
  private _shown: Shown = NONE;
}
