import { IDisposable } from '@lumino/disposable';
import { ISignal, Signal } from '@lumino/signaling';

import { MlenvError, toMlenvError } from '../api/client';
import { Model } from './model';
import { IEnvironment, IJob, IStarted, IStartRequest } from '../api/protocol';
import { View } from './view';

/** One endpoint of one environment from click to page: asks, follows the job, notices when it stops. Draws nothing. */
export class Session implements IDisposable {
  /** `prepare`: what to do with the endpoint once it answers, before it is shown. It may not reject. */
  constructor(
    model: Model,
    endpoint: string,
    id = '',
    prepare: (environment: IEnvironment) => Promise<void> = () =>
      Promise.resolve()
  ) {
    this.model = model;
    this.endpoint = endpoint;
    this._id = id;
    this._prepare = prepare;
    model.changed.connect(this._sync, this);
  }

  readonly model: Model;
  readonly endpoint: string;

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  /** Empty until the server has named it. */
  get id(): string {
    return this._id;
  }

  /** The environment as last seen; it is kept while the engine cannot be asked. */
  get environment(): IEnvironment | undefined {
    return (
      this.model.environment(this._id) ??
      (this.model.engineDown ? this._last : undefined)
    );
  }

  /** The latest job of this tab, running or ended; its log is what a person wants to read. */
  get lastJob(): string {
    return this._job || this._endedJob;
  }

  get view(): View {
    if (this.model.isEnding(this._id)) {
      return { kind: 'ending' };
    }
    const job = this._job ? this.model.job(this._job) : undefined;
    if (this._asking || this._job) {
      const cancelling = this._cancelling;
      return {
        kind: 'working',
        job: job ?? null,
        since: this._since,
        cancelling
      };
    }
    if (this._error) {
      return { kind: 'failed', error: this._error };
    }
    if (this._cancelled) {
      return { kind: 'cancelled' };
    }
    const environment = this.environment;
    if (this.model.engineDown && !this._served) {
      return { kind: 'engine-down' };
    }
    if (!environment) {
      return { kind: this.model.synced ? 'gone' : 'connecting' };
    }
    if (environment.state === 'stopped' || environment.state === 'failed') {
      return { kind: 'stopped', environment };
    }
    const page = environment.endpoints[this.endpoint];
    if (environment.state === 'running' && this._served && page) {
      return {
        kind: 'frame',
        url: this.model.api.address(page.open),
        parts: this.model.api.address(page.url),
        key: String(this._generation)
      };
    }
    return {
      kind: 'working',
      job: null,
      since: this._since,
      cancelling: false
    };
  }

  /** Show what is there: a restored tab starts nothing that does not run already. */
  open(): void {
    this._sync();
  }

  /** Start or reuse what a tile stands for. */
  start(request: IStartRequest): Promise<void> {
    return this._begin(() => this.model.api.start(request));
  }

  /** Start this environment again, or only the endpoint if the environment runs. */
  resume(): Promise<void> {
    return this._begin(() => this.model.api.resume(this._id, this.endpoint));
  }

  restart(): Promise<void> {
    return this._begin(() => this.model.api.restart(this._id, this.endpoint));
  }

  /** Do again what failed or was cancelled. */
  retry(): Promise<void> {
    return this._request ? this._begin(this._request) : this.resume();
  }

  async cancel(): Promise<void> {
    this._cancelling = true;
    this._changed.emit();
    if (this._job) {
      try {
        await this.model.api.cancel(this._job);
      } catch (reason) {
        this._cancelling = false;
        this._fail(toMlenvError(reason));
      }
    }
  }

  dispose(): void {
    if (!this._isDisposed) {
      this._isDisposed = true;
      this.model.changed.disconnect(this._sync, this);
      Signal.clearData(this);
    }
  }

  private async _begin(request: () => Promise<IStarted>): Promise<void> {
    if (this._asking) {
      return;
    }
    this._request = request;
    this._asking = true;
    this._cancelling = false;
    this._cancelled = false;
    this._error = null;
    this._served = false;
    this._job = '';
    this._since = Date.now();
    this._changed.emit();
    try {
      const started = await request();
      if (this._isDisposed) {
        return;
      }
      this._id = started.environment.id;
      this._attach(started.job);
      this._asking = false;
      this.model.adopt(started);
      if (this._cancelling) {
        await this.cancel();
      }
    } catch (reason) {
      this._fail(toMlenvError(reason));
    }
  }

  private _attach(job: IJob): void {
    this._job = job.id;
    this._since = Date.now() - (job.elapsed ?? 0) * 1000;
  }

  private _fail(error: MlenvError): void {
    this._asking = false;
    this._endedJob = this._job || this._endedJob;
    this._job = '';
    this._error = error;
    this._changed.emit();
  }

  /** Follow what the model says. */
  private _sync(): void {
    const environment = this.model.environment(this._id);
    this._last = environment ?? this._last;
    if (!this._asking) {
      if (this._job) {
        this._syncJob();
      } else if (!this._error && !this._cancelled) {
        this._syncEnvironment(environment);
      }
    }
    this._changed.emit();
  }

  private _syncJob(): void {
    const job = this.model.job(this._job);
    if (!job) {
      if (this.model.connected && this.model.synced) {
        this._fail(
          new MlenvError({
            code: 'job_lost',
            message:
              'The Jupyter server was restarted and no longer knows this work.',
            hint: 'Try again: what was finished is reused.'
          })
        );
      }
      return;
    }
    if (job.state === 'running') {
      return;
    }
    this._endedJob = job.id;
    if (job.state === 'done') {
      void this._arrived();
      return;
    }
    this._job = '';
    if (job.state === 'cancelled') {
      this._cancelled = true;
    } else {
      this._error = new MlenvError(
        job.error ?? { message: 'It failed without saying why.' }
      );
    }
  }

  /** The job is done: read the environment once, since the job's end may overtake its environment's news. */
  private async _arrived(): Promise<void> {
    this._asking = true;
    try {
      const environment = await this.model.api.environment(this._id);
      await this._prepare(environment);
      this._served = true;
      this._started = environment.started;
      this._generation += 1;
      this._job = '';
      this._asking = false;
      this.model.put(environment);
    } catch (reason) {
      this._fail(toMlenvError(reason));
    }
  }

  private _syncEnvironment(environment: IEnvironment | undefined): void {
    if (!environment) {
      const job = this.model.runningJob(this._id);
      if (job) {
        this._attach(job);
      }
      return;
    }
    // A list does not tell when a container started, and news in between may be skipped: compare what both sides know.
    const restarted =
      this._started && environment.started
        ? this._started !== environment.started
        : false;
    if (environment.state !== 'running' || restarted) {
      this._served = false;
      this._started = '';
    }
    if (this._served) {
      this._started = this._started || environment.started;
      return;
    }
    if (this.model.engineDown) {
      return;
    }
    const job = this.model.runningJob(this._id);
    if (job) {
      this._attach(job);
    } else if (environment.state === 'running' && this.model.connected) {
      // Restored, or started by somebody else: this endpoint's service may not run yet.
      void this.resume();
    }
  }

  private _asking = false;
  private _cancelled = false;
  private _cancelling = false;
  private _changed = new Signal<this, void>(this);
  private _endedJob = '';
  private _error: MlenvError | null = null;
  private _generation = 0;
  private _id: string;
  private _isDisposed = false;
  private _job = '';
  private _last: IEnvironment | undefined;
  private _prepare: (environment: IEnvironment) => Promise<void>;
  private _request: (() => Promise<IStarted>) | null = null;
  private _served = false;
  private _since = Date.now();
  private _started = '';
}
