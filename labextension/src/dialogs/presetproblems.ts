import { Notification } from '@jupyterlab/apputils';
import { TranslationBundle } from '@jupyterlab/translation';

import { MlenvError } from '../api/client';
import { PresetList } from '../model/presetlist';
import { IErrorJSON } from '../api/protocol';
import { details, shortened } from './notification';

/** Tells of preset files that cannot be used: a notification for each, until it is mended or out of sight. */
export class PresetProblems {
  /** `show`: an error with all that is known of it. `open`: a file, by its path in the file browser. */
  constructor(
    presets: PresetList,
    show: (error: MlenvError) => void,
    open: (path: string) => void,
    trans: TranslationBundle
  ) {
    this._presets = presets;
    this._show = show;
    this._open = open;
    this._trans = trans;
    presets.problemsChanged.connect(this._update, this);
  }

  private _update(): void {
    const problems = this._presets.problems;
    const now = new Map(problems.map(error => [JSON.stringify(error), error]));
    for (const [key, notification] of this._told) {
      if (!now.has(key)) {
        this._told.delete(key);
        Notification.dismiss(notification);
      }
    }
    for (const [key, error] of now) {
      if (!this._told.has(key)) {
        this._told.set(key, this._tell(error));
      }
    }
  }

  private _tell(error: IErrorJSON): string {
    const trans = this._trans;
    const { message } = error;
    const { file } = error.details;
    const path =
      typeof file === 'string' ? this._presets.contentsPath(file) : '';
    return Notification.emit(shortened(message), 'error', {
      autoClose: false,
      actions: [
        ...(path
          ? [
              {
                label: trans.__('Open File'),
                callback: () => this._open(path)
              }
            ]
          : []),
        details(() => this._show(new MlenvError(error)), trans)
      ]
    });
  }

  private _open: (path: string) => void;
  private _presets: PresetList;
  private _show: (error: MlenvError) => void;
  /** Notifications by what they say. */
  private _told = new Map<string, string>();
  private _trans: TranslationBundle;
}
