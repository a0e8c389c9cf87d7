import { IDisposable, DisposableDelegate } from '@lumino/disposable';
import { ISignal, Signal } from '@lumino/signaling';

import { Api } from '../api/client';
import { LogBuffer } from './logbuffer';
import { PresetList } from './presetlist';
import {
  Change,
  IEngineStatus,
  IEnvironment,
  IJob,
  IPreset,
  IStarted
} from '../api/protocol';
import { Watch } from '../api/watch';

/** What the page knows of the server: fed by the watch WebSocket, read by everything that draws. */
export class Model implements IDisposable {
  constructor(api: Api) {
    this.api = api;
    this.presetList = new PresetList(api);
    this._watch = new Watch(api);
    this._watch.message.connect((_, change) => this._apply(change));
    this._watch.connection.connect((_, connected) => {
      this._connected = connected;
      if (connected) {
        void this.checkEngine().catch(() => undefined);
        void this.refreshPresets();
      }
      this._changed.emit();
    });
  }

  readonly api: Api;
  readonly presetList: PresetList;

  /** Emitted when an environment, a job, the engine or the connection changed. */
  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get presetsChanged(): ISignal<PresetList, void> {
    return this.presetList.changed;
  }

  /** Emitted when the server's kernelspecs changed, or may have while nobody told. */
  get kernelsChanged(): ISignal<this, void> {
    return this._kernelsChanged;
  }

  /** Emitted with the id of a job that has new log lines. */
  get logChanged(): ISignal<this, string> {
    return this._logChanged;
  }

  /** Whether the watch is connected, so that what is shown is what is. */
  get connected(): boolean {
    return this._connected;
  }

  /** Whether a snapshot ever arrived, so that what is not listed is not there. */
  get synced(): boolean {
    return this._synced;
  }

  /** The last known status of the engine; `null` before the first answer. */
  get engine(): IEngineStatus | null {
    return this._engine;
  }

  get engineDown(): boolean {
    return this._engine !== null && !this._engine.available;
  }

  get presets(): readonly IPreset[] {
    return this.presetList.presets;
  }

  get environments(): readonly IEnvironment[] {
    return [...this._environments.values()];
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  connect(): void {
    this._watch.connect();
  }

  environment(id: string): IEnvironment | undefined {
    return this._environments.get(id);
  }

  preset(name: string): IPreset | undefined {
    return this.presets.find(preset => preset.name === name);
  }

  job(id: string): IJob | undefined {
    return this._jobs.get(id);
  }

  get runningJobs(): readonly IJob[] {
    return [...this._jobs.values()].filter(job => job.state === 'running');
  }

  /** The job that works on this environment now. */
  runningJob(environment: string): IJob | undefined {
    return this.runningJobs.find(job => job.environment === environment);
  }

  /** Ask the engine's status again. */
  async checkEngine(): Promise<IEngineStatus> {
    this._engine = await this.api.engine();
    this._changed.emit();
    return this._engine;
  }

  /** Read the presets for a folder relative to the server's root; without one, for the last folder again. */
  refreshPresets(path?: string): Promise<void> {
    return this.presetList.refresh(path);
  }

  /** Take over what a POST answered, unless the watch was faster and knows better. */
  adopt({ environment, job }: IStarted): void {
    if (!this._connected || !this._environments.has(environment.id)) {
      this._environments.set(environment.id, environment);
    }
    if (!this._jobs.has(job.id)) {
      this._jobs.set(job.id, job);
    }
    this._changed.emit();
  }

  /** Take over an environment that the server just answered. */
  put(environment: IEnvironment): IEnvironment {
    this._environments.set(environment.id, environment);
    this._changed.emit();
    return environment;
  }

  stop(id: string): Promise<IEnvironment> {
    return this._ending(id, async () => this.put(await this.api.stop(id)));
  }

  remove(id: string): Promise<void> {
    return this._ending(id, async () => {
      await this.api.remove(id);
      this._environments.delete(id);
    });
  }

  /** Whether this page is stopping or removing it just now. */
  isEnding(id: string): boolean {
    return this._ends.has(id);
  }

  /** The log of a job, as far as it was followed. */
  log(job: string): LogBuffer {
    let log = this._logs.get(job);
    if (!log) {
      log = new LogBuffer();
      this._logs.set(job, log);
    }
    return log;
  }

  /** Receive the log lines of a job until the returned object is disposed. */
  follow(job: string): IDisposable {
    const count = this._followed.get(job) ?? 0;
    this._followed.set(job, count + 1);
    if (count === 0) {
      this._sendFollow(job);
    }
    return new DisposableDelegate(() => {
      const left = (this._followed.get(job) ?? 1) - 1;
      if (left > 0) {
        this._followed.set(job, left);
        return;
      }
      this._followed.delete(job);
      this._watch.send({ type: 'unfollow', job });
    });
  }

  dispose(): void {
    if (!this._isDisposed) {
      this._isDisposed = true;
      this._watch.dispose();
      this.presetList.dispose();
      Signal.clearData(this);
    }
  }

  private _apply(change: Change): void {
    switch (change.type) {
      case 'snapshot':
        this._environments = new Map(change.environments.map(e => [e.id, e]));
        this._jobs = new Map(change.jobs.map(job => [job.id, job]));
        if (this._synced) {
          this._kernelsChanged.emit(); // the watch was away
        }
        this._synced = true;
        for (const id of this._logs.keys()) {
          if (!this._jobs.has(id) && !this._followed.has(id)) {
            this._logs.delete(id);
          }
        }
        for (const job of this._followed.keys()) {
          this._sendFollow(job);
        }
        break;
      case 'environment':
        this._environments.set(change.environment.id, change.environment);
        break;
      case 'removed':
        this._environments.delete(change.id);
        break;
      case 'job':
        this._jobs.set(change.job.id, change.job);
        if (change.job.state === 'done') {
          void this.refreshPresets(); // its image is there now
        }
        break;
      case 'engine':
        this._engineChanged(change.state === 'connected');
        break;
      case 'kernels':
        this._kernelsChanged.emit();
        return;
      case 'log':
        if (this.log(change.job).add(change.from, change.lines)) {
          this._logChanged.emit(change.job);
        }
        return;
      default:
        return; // a newer server
    }
    this._changed.emit();
  }

  private async _ending<T>(id: string, end: () => Promise<T>): Promise<T> {
    this._ends.add(id);
    this._changed.emit();
    try {
      return await end();
    } finally {
      this._ends.delete(id);
      this._changed.emit();
    }
  }

  private _engineChanged(available: boolean): void {
    this._engine = { facts: null, error: null, ...this._engine, available };
    // The message says whether; only the engine's status says why.
    void this.checkEngine().catch(() => undefined);
    if (available) {
      void this.refreshPresets();
    }
  }

  private _sendFollow(job: string): void {
    this._watch.send({ type: 'follow', job, since: this.log(job).next });
  }

  private _changed = new Signal<this, void>(this);
  private _connected = false;
  private _ends = new Set<string>();
  private _engine: IEngineStatus | null = null;
  private _environments = new Map<string, IEnvironment>();
  private _followed = new Map<string, number>();
  private _isDisposed = false;
  private _jobs = new Map<string, IJob>();
  private _kernelsChanged = new Signal<this, void>(this);
  private _logChanged = new Signal<this, string>(this);
  private _logs = new Map<string, LogBuffer>();
  private _synced = false;
  private _watch: Watch;
}
