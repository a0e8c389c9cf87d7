import { IDisposable } from '@lumino/disposable';
import { ISignal, Signal } from '@lumino/signaling';

import { MlenvError, toMlenvError } from '../api/client';
import { Model } from './model';
import { IEnvironment, IJob, IStarted, IStartRequest } from '../api/protocol';
import { Phase, View, viewOf } from './view';

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
    return this._currentJob || this._endedJob;
  }

  get view(): View {
    return viewOf(this._phase, {
      model: this.model,
      id: this._id,
      environment: this.environment,
      endpoint: this.endpoint,
      since: this._since,
      generation: this._generation
    });
  }

  /** Show what is there: a restored tab starts nothing that does not run already. */
  open(): void {
    this._sync();
  }

  /** Start or reuse what a tile stands for. */
  async start(request: IStartRequest): Promise<void> {
    await this._begin(() => this.model.api.start(request));
  }

  /** Start this environment again, or only the endpoint if the environment runs. */
  async resume(): Promise<void> {
    await this._begin(() => this.model.api.resume(this._id, this.endpoint));
  }

  /** Stop and start it; the error if another job stood in the way, which is followed then. */
  restart(): Promise<MlenvError | undefined> {
    return this._begin(() => this.model.api.restart(this._id, this.endpoint));
  }

  /** Do again what failed or was cancelled. */
  async retry(): Promise<void> {
    await (this._request ? this._begin(this._request) : this.resume());
  }

  async cancel(): Promise<void> {
    const phase = this._phase;
    if (phase.kind !== 'asking' && phase.kind !== 'job') {
      return;
    }
    this._phase = { ...phase, cancelling: true };
    this._changed.emit();
    if (phase.kind === 'job') {
      try {
        await this.model.api.cancel(phase.id);
      } catch (reason) {
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

  private async _begin(
    request: () => Promise<IStarted>
  ): Promise<MlenvError | undefined> {
    if (this._phase.kind === 'asking' || this._phase.kind === 'arriving') {
      return undefined;
    }
    this._request = request;
    this._phase = { kind: 'asking', cancelling: false };
    this._since = Date.now();
    this._changed.emit();
    try {
      const started = await request();
      if (this._isDisposed) {
        return undefined;
      }
      this._id = started.environment.id;
      const cancelled = this._cancelling;
      this._attach(started.job);
      this.model.adopt(started);
      if (cancelled) {
        await this.cancel();
      }
    } catch (reason) {
      const error = toMlenvError(reason);
      if (await this._follow(error)) {
        return error;
      }
      this._fail(error);
    }
    return undefined;
  }

  /** Whether there is a job in the way of what was asked, which is shown from now on. */
  private async _follow({ code, details }: MlenvError): Promise<boolean> {
    const { api } = this.model;
    if (code !== 'environment_busy' || typeof details.job !== 'string') {
      return false; // another process works on it
    }
    try {
      // The watch may not have told of it yet.
      const job = this.model.job(details.job) ?? (await api.job(details.job));
      const environment = await api.environment(job.environment);
      this._id = environment.id;
      this._attach(job);
      this.model.adopt({ environment, job });
      return true;
    } catch {
      return false; // it has ended meanwhile, and its environment with it
    }
  }

  private _attach(job: IJob): void {
    this._phase = { kind: 'job', id: job.id, cancelling: false };
    this._since = Date.now() - (job.elapsed ?? 0) * 1000;
  }

  private _fail(error: MlenvError): void {
    this._endedJob = this.lastJob;
    this._phase = { kind: 'failed', error };
    this._changed.emit();
  }

  /** Follow what the model says. */
  private _sync(): void {
    const environment = this.model.environment(this._id);
    this._last = environment ?? this._last;
    switch (this._phase.kind) {
      case 'job':
        this._syncJob(this._phase.id);
        break;
      case 'idle':
      case 'served':
        this._syncEnvironment(environment);
    }
    this._changed.emit();
  }

  private _syncJob(id: string): void {
    const { trans } = this.model.api;
    const job = this.model.job(id);
    if (!job) {
      if (this.model.connected && this.model.synced) {
        this._fail(
          new MlenvError({
            code: 'job_lost',
            message: trans.__(
              'The Jupyter server was restarted and no longer knows this work.'
            ),
            hint: trans.__('Try again: what was finished is reused.')
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
      void this._arrived(id);
      return;
    }
    if (job.state === 'cancelled') {
      this._phase = { kind: 'cancelled' };
    } else {
      const error = job.error ?? {
        message: trans.__('The start failed and the server gave no reason.')
      };
      this._phase = { kind: 'failed', error: new MlenvError(error) };
    }
  }

  /** The job is done: read the environment once, since the job's end may overtake its environment's news. */
  private async _arrived(id: string): Promise<void> {
    this._phase = { kind: 'arriving', id };
    try {
      const environment = await this.model.api.environment(this._id);
      await this._prepare(environment);
      this._phase = { kind: 'served', started: environment.started };
      this._generation += 1;
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
    const phase = this._phase;
    if (phase.kind === 'served') {
      const { started } = phase;
      const restarted =
        started && environment.started && started !== environment.started;
      if (environment.state === 'running' && !restarted) {
        this._phase = { ...phase, started: started || environment.started };
        return;
      }
      this._phase = { kind: 'idle' };
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

  /** The job that is followed; empty where there is none. */
  private get _currentJob(): string {
    const phase = this._phase;
    return phase.kind === 'job' || phase.kind === 'arriving' ? phase.id : '';
  }

  private get _cancelling(): boolean {
    return this._phase.kind === 'asking' && this._phase.cancelling;
  }

  private _changed = new Signal<this, void>(this);
  private _endedJob = '';
  private _generation = 0;
  private _id: string;
  private _isDisposed = false;
  private _last: IEnvironment | undefined;
  private _phase: Phase = { kind: 'idle' };
  private _prepare: (environment: IEnvironment) => Promise<void>;
  private _request: (() => Promise<IStarted>) | null = null;
  private _since = Date.now();
}
