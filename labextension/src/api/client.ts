import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';
import { nullTranslator, TranslationBundle } from '@jupyterlab/translation';

import {
  IEngineStatus,
  IEnvironment,
  IErrorJSON,
  IJob,
  IListeningPort,
  IPorts,
  IPresets,
  IStarted,
  IStartRequest
} from './protocol';

/** A failure that a person is told about: the error object of the REST API. */
export class MlenvError extends Error {
  constructor(error: Partial<IErrorJSON> & { message: string }, status = 0) {
    super(error.message);
    this.name = 'MlenvError';
    this.code = error.code ?? 'error';
    this.details = error.details ?? {};
    this.hint = error.hint ?? '';
    this.log = error.log ?? [];
    this.status = status;
  }

  readonly code: string;
  readonly details: Readonly<Record<string, unknown>>;
  readonly hint: string;
  readonly log: readonly string[];
  /** HTTP status, 0 when the server did not answer. */
  readonly status: number;
}

/** Anything thrown, as an error with message and hint. */
export function toMlenvError(reason: unknown): MlenvError {
  if (reason instanceof MlenvError) {
    return reason;
  }
  return new MlenvError({
    message: reason instanceof Error ? reason.message : String(reason)
  });
}

/** The REST API. Every method rejects with an `MlenvError`. */
export class Api {
  constructor(
    settings: ServerConnection.ISettings,
    trans: TranslationBundle = nullTranslator.load('jupyter_mlenv')
  ) {
    this.settings = settings;
    this.trans = trans;
  }

  readonly settings: ServerConnection.ISettings;
  /** The language of what the page says itself; the server's errors are in the server's. */
  readonly trans: TranslationBundle;

  engine(): Promise<IEngineStatus> {
    return this._request('GET', ['engine']);
  }

  presets(path = ''): Promise<IPresets> {
    const query = URLExt.objectToQueryString({ path });
    return this._request('GET', ['presets'], undefined, query);
  }

  /** The person agrees to this content of a project's preset. */
  agree(folder: string, digest: string): Promise<void> {
    return this._request('POST', ['consents'], { folder, digest });
  }

  async environments(): Promise<IEnvironment[]> {
    const answer = await this._request<{ environments: IEnvironment[] }>(
      'GET',
      ['environments']
    );
    return answer.environments;
  }

  environment(id: string): Promise<IEnvironment> {
    return this._request('GET', ['environments', id]);
  }

  start(request: IStartRequest): Promise<IStarted> {
    return this._request('POST', ['environments'], request);
  }

  resume(id: string, endpoint: string): Promise<IStarted> {
    return this._request('POST', ['environments', id, 'start'], { endpoint });
  }

  restart(id: string, endpoint: string): Promise<IStarted> {
    return this._request('POST', ['environments', id, 'restart'], { endpoint });
  }

  stop(id: string): Promise<IEnvironment> {
    return this._request('POST', ['environments', id, 'stop']);
  }

  remove(id: string): Promise<void> {
    return this._request('DELETE', ['environments', id]);
  }

  async logs(id: string, tail = 500): Promise<string[]> {
    const query = URLExt.objectToQueryString({ tail });
    const answer = await this._request<{ lines: string[] }>(
      'GET',
      ['environments', id, 'logs'],
      undefined,
      query
    );
    return answer.lines;
  }

  /** Programs in it that listen on a port and are no endpoint. */
  async ports(id: string): Promise<IListeningPort[]> {
    const answer = await this._request<IPorts>('GET', [
      'environments',
      id,
      'ports'
    ]);
    return answer.ports;
  }

  job(id: string): Promise<IJob> {
    return this._request('GET', ['jobs', id]);
  }

  cancel(job: string): Promise<void> {
    return this._request('DELETE', ['jobs', job]);
  }

  /** The address of the watch WebSocket. */
  watchUrl(): string {
    const { wsUrl, token, appendToken } = this.settings;
    const url = URLExt.join(wsUrl, 'mlenv/api/watch');
    return appendToken && token
      ? `${url}?token=${encodeURIComponent(token)}`
      : url;
  }

  /** A path of the server's answers (`endpoint.open`) as an address for a browser. */
  address(path: string): string {
    return new URL(path, new URL(this.settings.baseUrl, window.location.href))
      .href;
  }

  private async _request<T>(
    method: string,
    path: string[],
    body?: object,
    query = '',
    attempts = method === 'GET' ? 2 : 1
  ): Promise<T> {
    const url =
      URLExt.join(
        this.settings.baseUrl,
        'mlenv/api',
        ...path.map(encodeURIComponent)
      ) + query;
    let response: Response;
    try {
      response = await ServerConnection.makeRequest(
        url,
        { method, body: body && JSON.stringify(body) },
        this.settings
      );
    } catch (reason) {
      if (attempts > 1) {
        // Browsers drop connections when a container changes the machine's network.
        return this._request(method, path, body, query, attempts - 1);
      }
      throw new MlenvError({
        code: 'server_unreachable',
        message: this.trans.__('The Jupyter server does not answer.'),
        hint: this.trans.__(
          'Check that it still runs, then try again. (%1)',
          String(reason)
        )
      });
    }
    if (response.status === 204) {
      return undefined as T;
    }
    const text = await response.text();
    const json = parse(text);
    if (!response.ok || json === undefined) {
      throw failure(response, json, this.trans);
    }
    return json as T;
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function failure(
  response: Response,
  json: unknown,
  trans: TranslationBundle
): MlenvError {
  const { status, statusText } = response;
  const error = json as Partial<IErrorJSON> | undefined;
  if (error && typeof error.message === 'string' && error.message) {
    return new MlenvError({ ...error, message: error.message }, status);
  }
  if (status === 401 || status === 403) {
    return new MlenvError(
      {
        code: 'forbidden',
        message: trans.__('The Jupyter server refused this.'),
        hint: trans.__(
          'Log in again, or ask its administrator for access to ML environments.'
        )
      },
      status
    );
  }
  return new MlenvError(
    {
      message: trans.__(
        'The Jupyter server answered %1.',
        `${status} ${statusText}`.trim()
      ),
      hint: trans.__("The server's own log says more.")
    },
    status
  );
}
