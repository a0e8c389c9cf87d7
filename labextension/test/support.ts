import { ServerConnection } from '@jupyterlab/services';

import { Api } from '../src/api/client';
import { Change, IEnvironment, IJob, IProgress } from '../src/api/protocol';

/** A user's server behind a hub, with an `@` in the user's name. */
export const BASE = 'http://hub.example/user/alice%40b/';

/** The server's end of a WebSocket. */
export class Socket {
  static all: Socket[] = [];
  static get last(): Socket {
    return Socket.all[Socket.all.length - 1];
  }

  constructor(readonly url: string) {
    Socket.all.push(this);
  }

  readyState = 0;
  sent: Record<string, unknown>[] = [];
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: string }) => void) | null = null;
  onclose: (() => void) | null = null;

  open(): void {
    this.readyState = 1;
    this.onopen?.();
  }

  say(change: Change): void {
    this.onmessage?.({ data: JSON.stringify(change) });
  }

  snapshot(environments: IEnvironment[] = [], jobs: IJob[] = []): void {
    this.say({ type: 'snapshot', environments, jobs });
  }

  send(data: string): void {
    this.sent.push(JSON.parse(data) as Record<string, unknown>);
  }

  close(): void {
    this.readyState = 3;
    this.onclose?.();
  }
}

type Answer = { status?: number; body?: unknown; text?: string };

/** An API whose server answers what `answers` says for `GET path`, `POST path`, … below `mlenv/api/`. */
export class Server {
  answers: Record<
    string,
    Answer | ((body: unknown) => Answer | Promise<Answer>)
  > = {
    'GET engine': { body: { available: true, facts: {}, error: null } },
    'GET presets': { body: { presets: [], errors: [], workspace: null } }
  };
  asked: { method: string; path: string; url: string; body: unknown }[] = [];

  readonly settings = ServerConnection.makeSettings({
    baseUrl: BASE,
    wsUrl: BASE.replace('http', 'ws'),
    token: 'a b',
    appendToken: true,
    WebSocket: Socket as unknown as typeof WebSocket,
    fetch: async info => {
      const request = info as Request;
      const url = request.url.replace(/[?&]\d+$/, ''); // Lab's cache buster
      const path = url.slice(`${BASE}mlenv/api/`.length);
      const text = await request.text();
      const body: unknown = text ? JSON.parse(text) : undefined;
      const { method } = request;
      this.asked.push({ method, path, url, body });
      const known = this.answers[`${method} ${path.replace(/\?.*/, '')}`];
      const answer = typeof known === 'function' ? await known(body) : known;
      if (!answer) {
        throw new TypeError('Failed to fetch');
      }
      const status = answer.status ?? 200;
      const said = answer.text ?? JSON.stringify(answer.body);
      return new Response(status === 204 ? null : said, { status });
    }
  });

  readonly api = new Api(this.settings);

  count(method: string, path: string): number {
    return this.asked.filter(a => a.method === method && a.path === path)
      .length;
  }
}

export function environment(changes: Partial<IEnvironment> = {}): IEnvironment {
  return {
    id: 'python-0123456789',
    preset: 'python',
    title: 'Python',
    owner: 'ada',
    name: '',
    workspace: '/home/ada/myproject',
    state: 'running',
    image: 'python:3.12',
    gpu: false,
    icon: 'python',
    created: '2026-01-01T00:00:00Z',
    started: '2026-01-01T00:00:01Z',
    exit_code: null,
    oom_killed: false,
    job: null,
    outdated: false,
    warnings: [],
    endpoints: {
      notebook: {
        title: 'JupyterLab',
        icon: '',
        url: '/user/alice%40b/mlenv/envs/python-0123456789/notebook/',
        open: '/user/alice%40b/mlenv/envs/python-0123456789/notebook/lab'
      }
    },
    ...changes
  };
}

export function progress(changes: Partial<IProgress> = {}): IProgress {
  return {
    phase: 'pull',
    message: 'Pulling python:3.12',
    current: 0,
    total: 0,
    unit: '',
    fraction: null,
    ...changes
  };
}

export function job(changes: Partial<IJob> = {}): IJob {
  return {
    id: 'j1',
    kind: 'start',
    environment: 'python-0123456789',
    state: 'running',
    progress: progress(),
    error: null,
    lines: 0,
    notes: [],
    elapsed: 3,
    ...changes
  };
}

/** Until everything that was answered has been read. */
export async function settled(): Promise<void> {
  for (let i = 0; i < 10; i++) {
    await new Promise(resolve => setTimeout(resolve));
  }
}

/** What the dialog says, once there is one that says `part`. */
export async function shownDialog(part = ''): Promise<string> {
  for (;;) {
    const text = document.querySelector('.jp-Dialog')?.textContent;
    if (text?.includes(part) && document.querySelector('.jp-Dialog button')) {
      return text;
    }
    await new Promise(resolve => setTimeout(resolve, 5));
  }
}

/** Press a button of the dialog, once there is one. */
export async function press(label: string): Promise<void> {
  await shownDialog(label);
  const buttons = document.querySelectorAll<HTMLElement>('.jp-Dialog button');
  [...buttons].find(({ textContent }) => textContent === label)?.click();
}
