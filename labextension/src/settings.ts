import { ISignal, Signal } from '@lumino/signaling';

/** Settings of schema/plugin.json. */
export interface ISettings {
  showTiles: boolean;
  confirmStop: boolean;
  confirmRemove: boolean;
  showLog: boolean;
  followTheme: boolean;
}

const DEFAULTS: ISettings = {
  showTiles: true,
  showLog: false,
  followTheme: true,
  confirmStop: true,
  confirmRemove: true
};

/** The current settings; the defaults until they are loaded, and where nothing keeps settings. */
export class Settings {
  get current(): ISettings {
    return this._current;
  }

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  /** Take what a person has chosen. */
  update(chosen: object): void {
    this._current = { ...DEFAULTS, ...chosen };
    this._changed.emit();
  }

  private _changed = new Signal<this, void>(this);
  private _current = DEFAULTS;
}
