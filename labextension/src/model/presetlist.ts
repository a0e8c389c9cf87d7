import { ISignal, Signal } from '@lumino/signaling';

import { Api, toMlenvError } from '../api/client';
import { IErrorJSON, IPreset } from '../api/protocol';

/** The presets of a folder, in the server's order, and what is wrong with those that cannot be used. */
export class PresetList {
  constructor(api: Api) {
    this._api = api;
  }

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get presets(): readonly IPreset[] {
    return this._presets;
  }

  get problems(): readonly IErrorJSON[] {
    return this._problems;
  }

  get problemsChanged(): ISignal<this, void> {
    return this._problemsChanged;
  }

  /** Read them for a folder relative to the server's root; without one, for the last folder again. */
  async refresh(path?: string): Promise<void> {
    this._path = path ?? this._path;
    const asked = ++this._asked;
    try {
      const answer = await this._api.presets(this._path);
      if (asked !== this._asked) {
        return;
      }
      this._workspace = answer.workspace ?? '';
      if (!same(answer.errors, this._problems)) {
        this._problems = answer.errors;
        this._problemsChanged.emit();
      }
      if (!same(answer.presets, this._presets)) {
        this._presets = answer.presets;
        this._changed.emit();
      }
    } catch (reason) {
      // The tiles that are there stay: the next connection asks again.
      console.warn(toMlenvError(reason).message);
    }
  }

  /** A file of the project as the file browser names it; empty for any other. */
  contentsPath(file: string): string {
    const project = this._workspace;
    if (!project || !file.startsWith(`${project}/`)) {
      return '';
    }
    const rest = file.slice(project.length + 1);
    // The project is the folder that was asked about, or one around it.
    const folders = this._path.split('/').filter(Boolean);
    for (let count = folders.length; count > 0; count--) {
      const folder = folders.slice(0, count).join('/');
      if (project.endsWith(`/${folder}`)) {
        return `${folder}/${rest}`;
      }
    }
    return rest;
  }

  dispose(): void {
    this._asked += 1;
    Signal.clearData(this);
  }

  private _api: Api;
  private _asked = 0;
  private _changed = new Signal<this, void>(this);
  private _path = '';
  private _presets: readonly IPreset[] = [];
  private _problems: readonly IErrorJSON[] = [];
  private _problemsChanged = new Signal<this, void>(this);
  private _workspace = '';
}

function same(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}
