/** The words of the server's REST API (docs/architecture.md, "REST") and the names we register. */

export const PLUGIN_ID = 'jupyter-mlenv:plugin';

/** The page option that the server half sets. Without it this extension stays silent. */
export const PAGE_OPTION = 'mlenv';

/** The key in the metadata of our kernelspecs, and of what is said about our kernels. */
export const KERNEL_KEY = 'jupyter-mlenv';

export namespace CommandIDs {
  export const start = 'mlenv:start';
  export const open = 'mlenv:open';
  export const openTensorBoard = 'mlenv:open-tensorboard';
  export const openInBrowser = 'mlenv:open-in-browser';
  export const stop = 'mlenv:stop';
  export const restart = 'mlenv:restart';
  export const remove = 'mlenv:remove';
  export const showLog = 'mlenv:show-log';
  export const cancel = 'mlenv:cancel';
}

export const NOTEBOOK = 'notebook';
export const TENSORBOARD = 'tensorboard';

export interface IErrorJSON {
  code: string;
  message: string;
  hint: string;
  details: Record<string, unknown>;
  log: string[];
}

export interface IEngineStatus {
  available: boolean;
  facts: Record<string, unknown> | null;
  error: IErrorJSON | null;
}

/** What a person is asked before the preset of a project is used. */
export interface IConsent {
  /** The preset's file. */
  file: string;
  /** The project's folder. */
  folder: string;
  /** Of the content that is asked about. */
  digest: string;
  /** What the preset would run and see, a sentence each. */
  says: string[];
}

export interface IPreset {
  name: string;
  title: string;
  description: string;
  icon: string;
  gpu: boolean;
  twin?: string;
  source?: string;
  image?: unknown;
  ready?: boolean | null;
  /** To be agreed to before it is used. */
  consent?: IConsent | null;
}

export interface IPresets {
  presets: IPreset[];
  errors: IErrorJSON[];
  workspace: string | null;
}

export interface IEndpoint {
  title: string;
  icon: string;
  /** Path of the endpoint's base URL on this server, percent-encoded. */
  url: string;
  /** Where a browser is sent. */
  open: string;
}

export type EnvironmentState =
  'pending' | 'starting' | 'running' | 'stopped' | 'failed';

export interface IEnvironment {
  id: string;
  preset: string;
  title: string;
  name: string;
  workspace: string;
  state: EnvironmentState;
  image: string;
  gpu: boolean;
  icon: string;
  created: string;
  started: string;
  exit_code: number | null;
  oom_killed: boolean;
  /** The job that works on it now. */
  job: string | null;
  outdated: boolean;
  warnings: string[];
  endpoints: Record<string, IEndpoint>;
}

export interface IProgress {
  phase: string;
  message: string;
  current: number;
  /** 0: unknown. */
  total: number;
  /** `bytes`, `steps`, `layers` or empty. */
  unit: string;
  /** 0 to 1 within the phase. */
  fraction: number | null;
}

export interface IJob {
  id: string;
  kind: string;
  environment: string;
  state: 'running' | 'done' | 'failed' | 'cancelled';
  progress: IProgress;
  error: IErrorJSON | null;
  /** How many log lines were ever written. */
  lines: number;
  /** Seconds from its start until now, or until it ended. */
  elapsed?: number;
}

export interface IStarted {
  environment: IEnvironment;
  job: IJob;
}

/** What a click asks for. */
export interface IStartRequest {
  preset: string;
  /** Folder relative to the server's root directory. */
  path?: string;
  /** Absolute project folder, instead of `path`. */
  workspace?: string;
  name?: string;
  endpoint?: string;
}

/** A message of the watch WebSocket. */
export type Change =
  | { type: 'snapshot'; environments: IEnvironment[]; jobs: IJob[] }
  | { type: 'environment'; environment: IEnvironment }
  | { type: 'removed'; id: string }
  | { type: 'job'; job: IJob }
  | { type: 'engine'; state: 'connected' | 'disconnected' }
  | { type: 'kernels' }
  | { type: 'log'; job: string; from: number; lines: string[] };

/** Settings of schema/plugin.json. */
export interface ISettings {
  showTiles: boolean;
  confirmStop: boolean;
  confirmRemove: boolean;
  showLog: boolean;
  followTheme: boolean;
}
