import { IDisposable } from '@lumino/disposable';
import { ISignal, Signal } from '@lumino/signaling';

import { Api } from './client';
import { Change } from './protocol';

/** Delays between attempts to reconnect, in milliseconds; the last one repeats. */
export const BACKOFF = [500, 1000, 2000, 5000, 10000];

/** How long a connection must hold before the next loss starts over with the shortest delay, in milliseconds. */
const STABLE = 5000;

/** The watch WebSocket: connects, reconnects, parses. What it means is the model's business. */
export class Watch implements IDisposable {
  constructor(api: Api) {
    this._api = api;
  }

  get message(): ISignal<this, Change> {
    return this._message;
  }

  /** Emits `true` after a connection was made and `false` after one was lost. */
  get connection(): ISignal<this, boolean> {
    return this._connection;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  connect(): void {
    if (this._isDisposed || this._socket) {
      return;
    }
    window.clearTimeout(this._timer);
    const { WebSocket } = this._api.settings;
    const socket = new WebSocket(this._api.watchUrl());
    let opened = 0;
    this._socket = socket;
    socket.onopen = () => {
      opened = Date.now();
      this._connection.emit(true);
    };
    socket.onmessage = event => {
      this._message.emit(JSON.parse(event.data as string) as Change);
    };
    socket.onclose = () => {
      this._socket = null;
      if (opened && Date.now() - opened > STABLE) {
        this._attempt = 0;
      }
      const delay = BACKOFF[Math.min(this._attempt++, BACKOFF.length - 1)];
      this._timer = window.setTimeout(
        () => this.connect(),
        delay * (0.75 + Math.random() / 2)
      );
      this._connection.emit(false);
    };
  }

  /** Send if connected. What must survive a lost connection is sent again by the model after the next snapshot. */
  send(message: object): void {
    if (this._socket?.readyState === 1) {
      this._socket.send(JSON.stringify(message));
    }
  }

  dispose(): void {
    if (this._isDisposed) {
      return;
    }
    this._isDisposed = true;
    window.clearTimeout(this._timer);
    if (this._socket) {
      this._socket.onclose = null;
      this._socket.close();
      this._socket = null;
    }
    Signal.clearData(this);
  }

  private _api: Api;
  private _attempt = 0;
  private _connection = new Signal<this, boolean>(this);
  private _isDisposed = false;
  private _message = new Signal<this, Change>(this);
  private _socket: WebSocket | null = null;
  private _timer = 0;
}
