import { ILauncher } from '@jupyterlab/launcher';
import { TranslationBundle } from '@jupyterlab/translation';
import { DisposableSet, IDisposable } from '@lumino/disposable';

import { Model } from '../model/model';
import { CommandIDs } from '../ids';

/** Keep one tile per preset in the launcher, in the server's order; `shown` may change at any time. */
export class Tiles implements IDisposable {
  constructor(
    launcher: ILauncher,
    model: Model,
    shown: () => boolean,
    trans: TranslationBundle
  ) {
    this._launcher = launcher;
    this._model = model;
    this._shown = shown;
    this._category = trans.__('ML Environments');
    model.presetsChanged.connect(this.update, this);
    this.update();
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  /** The launcher draws again only when tiles come or go: take all away and add all. */
  update(): void {
    this._tiles.dispose();
    this._tiles = new DisposableSet();
    if (!this._shown()) {
      return;
    }
    this._model.presets.forEach((preset, rank) =>
      this._tiles.add(
        this._launcher.add({
          command: CommandIDs.start,
          args: { preset: preset.name },
          category: this._category,
          categoryRank: -10,
          rank
        })
      )
    );
  }

  dispose(): void {
    if (!this._isDisposed) {
      this._isDisposed = true;
      this._model.presetsChanged.disconnect(this.update, this);
      this._tiles.dispose();
    }
  }

  private _category: string;
  private _isDisposed = false;
  private _launcher: ILauncher;
  private _model: Model;
  private _shown: () => boolean;
  private _tiles = new DisposableSet();
}
