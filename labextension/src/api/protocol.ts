/** The types of the REST API. Generated from openapi.json by `jlpm protocol`: do not edit. */

/** The one form of every error. */
export interface IErrorJSON {
  /** Stable, for programs: `preset_not_found`, `engine_unavailable`, … */
  code: string;
  /** What happened and why, for a person. */
  message: string;
  /** What to do now; may be empty. */
  hint: string;
  /** Facts for programs: `field`, `file`, `line`, `environment`, … */
  details: Record<string, unknown>;
  /** The last log lines that explain it, oldest first. */
  log: string[];
}

export interface IEngineFacts {
  /** `docker` */
  kind: string;
  version: string;
  url: string;
  os: string;
  architecture: string;
  /** Unix sockets in a bind-mounted directory work on both sides. */
  shares_filesystem: boolean;
  publish_host: string;
  buildkit: boolean;
  /** The person is root inside. */
  rootless: boolean;
  /** Users of containers are others on the host, so nothing can be started. */
  user_map: boolean;
  /** Users of containers are this machine's, also where the engine is rootless. */
  keeps_users: boolean;
  /** The id of the engine's container that this server itself runs in; empty for none. */
  container: string;
  /** Limits that the engine takes and does not apply. */
  ignored: string[];
  cpus: number;
  /** Bytes. */
  memory: number;
}

export interface IEngineStatus {
  available: boolean;
  facts: IEngineFacts | null;
  /** Why no engine is available, with a hint. */
  error: IErrorJSON | null;
}

export interface IPreset {
  name: string;
  title: string;
  description: string;
  /** A name of the lab extension's icons; may be empty. */
  icon: string;
  gpu: boolean;
  /** The same preset for the other processor; may be empty. */
  twin: string;
  /** The preset's file, or `catalog`. */
  source: string;
  /** Where the image comes from, in a few words for a person. */
  image: string;
  /** Its image is on the engine, so that a start neither pulls nor builds; `null`: not known. */
  ready: boolean | null;
  /** What has to be agreed to (`POST consents`) before a start; `null`: nothing. */
  consent: IConsent | null;
}

/** What a person is asked before the preset of a project, which may have come with a cloned repository, is used. */
export interface IConsent {
  /** The preset's file. */
  file: string;
  /** The project's absolute folder. */
  folder: string;
  /** Of the content that is asked about. */
  digest: string;
  /** What it would run and see, a plain sentence each. */
  says: string[];
}

export interface IPresets {
  presets: IPreset[];
  /** Preset files that are not valid. */
  errors: IErrorJSON[];
  /** The workspace of `path`, absolute; `null` without `path`, and where there can be none. */
  workspace: string | null;
}

export interface IEndpoint {
  title: string;
  icon: string;
  /** Path of its base URL on this server, with a trailing slash. */
  url: string;
  /** Path where a browser is sent. */
  open: string;
}

export interface IEnvironment {
  id: string;
  preset: string;
  title: string;
  name: string;
  owner: string;
  /** Absolute path, on the host and inside. */
  workspace: string;
  state: 'pending' | 'starting' | 'running' | 'stopped' | 'failed';
  image: string;
  gpu: boolean;
  icon: string;
  /** ISO 8601 in UTC; empty if there is no container yet. */
  created: string;
  /** ISO 8601 in UTC; empty if it never was. */
  started: string;
  /** Of the last exit. */
  exit_code: number | null;
  oom_killed: boolean;
  /** The job that works on it now. */
  job: string | null;
  /** The preset has changed since. */
  outdated: boolean;
  /** What the engine did not apply. */
  warnings: string[];
  /** By name. */
  endpoints: Record<string, IEndpoint>;
}

export interface IProgress {
  phase:
    | 'queued'
    | 'plan'
    | 'pull'
    | 'build'
    | 'create'
    | 'start'
    | 'service'
    | 'stop'
    | 'done';
  message: string;
  current: number;
  /** 0: unknown. */
  total: number;
  /** `bytes`, `steps`, `layers`, or empty. */
  unit: string;
  /** Within the phase; `null`: unknown. */
  fraction: number | null;
}

export interface IJob {
  id: string;
  /** `start` is also of a stopped environment; `recreate` removes what was there first. */
  kind: 'start' | 'restart' | 'recreate';
  /** The environment's id. */
  environment: string;
  state: 'running' | 'done' | 'failed' | 'cancelled';
  progress: IProgress;
  error: IErrorJSON | null;
  /** Log lines ever written. */
  lines: number;
  /** Sentences for the person, such as links that lead out of the project. */
  notes: string[];
  /** Seconds from its start until now, or until it ended. */
  elapsed: number;
}

export interface IStarted {
  environment: IEnvironment;
  job: IJob;
}

export interface IStartRequest {
  /** Name of a preset. */
  preset: string;
  /** A folder relative to the server's root directory, with forward slashes; the workspace is derived from it. It may not lead out of the root directory. Default: the root directory. */
  path?: string | null;
  /** The workspace itself, an absolute path. Wins over `path`. */
  workspace?: string | null;
  /** Tells several environments of the same preset and workspace apart. */
  name?: string | null;
  /** `all`, a number, `device=0,1`, or empty for none. Default: the preset's. */
  gpus?: string | number | null;
  /** Bytes, or for example `8g`; from 6 MiB to 1 PiB. Default: the preset's. */
  memory?: number | string | null;
  /** Cores. Default: the preset's. */
  cpus?: number | null;
  /** On top of the preset's. */
  mounts?: IMount[] | null;
  /** Replace a container that is there, with all that was installed in it. */
  recreate?: boolean | null;
  /** The job also waits until this endpoint answers. */
  endpoint?: string | null;
}

export interface IMount {
  /** Absolute path on the engine's host. */
  source: string;
  /** Absolute path inside, not the root. Default: the source. */
  target?: string | null;
  read_only?: boolean | null;
}

export interface IEndpointRequest {
  /** The job also waits until this endpoint answers. */
  endpoint?: string | null;
}

export interface IConsentRequest {
  /** As the consent object has it. */
  folder: string;
  /** As the consent object has it. */
  digest: string;
}

export interface ILines {
  lines: string[];
}

export interface IJobLines {
  lines: string[];
  /** What to ask for next as `since`. */
  next: number;
}

/** A message of the watch WebSocket to the client. */
export type Change =
  | { type: 'snapshot'; environments: IEnvironment[]; jobs: IJob[] }
  | { type: 'environment'; environment: IEnvironment }
  | { type: 'removed'; id: string }
  | { type: 'job'; job: IJob }
  | { type: 'engine'; state: 'connected' | 'disconnected' }
  | { type: 'kernels' }
  | {
      type: 'log';
      job: string;
      /** Number of the first line; larger than asked for if lines were lost. */
      from: number;
      lines: string[];
    }
  | { type: 'error'; error: IErrorJSON };

/** A message of the client on the watch WebSocket. */
export interface IWatchCommand {
  type: 'follow' | 'unfollow';
  /** The job's id. */
  job: string;
  /** Number of the first line wanted. */
  since?: number | null;
}

/** A program that listens on a port of an environment. */
export interface IListeningPort {
  port: number;
  /** The program's name, or its script's or module's. */
  name: string;
  /** The address at which it sees paths that begin at `/`. */
  app: string;
  /** The address at which it sees the whole path. */
  url: string;
}

export interface IPorts {
  ports: IListeningPort[];
}
