import { MlenvError } from '../api/client';
import { Model } from './model';
import { IEnvironment, IJob } from '../api/protocol';

/** What a tab shows. */
export type View =
  /** Nothing is known yet: the watch has not connected. */
  | { kind: 'connecting' }
  /** A job works on it; `job` is null while the server is asked. `since`: when it began, as of `Date.now()`. */
  | { kind: 'working'; job: IJob | null; since: number; cancelling: boolean }
  /** It is being stopped or removed from this page. */
  | { kind: 'ending' }
  | { kind: 'failed'; error: MlenvError }
  | { kind: 'cancelled' }
  /** The page of the endpoint. `parts`: the address below which its parts are. Another `key`: another container. */
  | { kind: 'frame'; url: string; parts: string; key: string }
  | { kind: 'stopped'; environment: IEnvironment }
  | { kind: 'engine-down' }
  | { kind: 'gone' };

/** Where a session is between a click and its page. */
export type Phase =
  /** It shows what there is. */
  | { kind: 'idle' }
  /** The server is asked for a job; `cancelling` as soon as there is one. */
  | { kind: 'asking'; cancelling: boolean }
  | { kind: 'job'; id: string; cancelling: boolean }
  /** The job is done, and the environment is read. */
  | { kind: 'arriving'; id: string }
  | { kind: 'failed'; error: MlenvError }
  | { kind: 'cancelled' }
  /** The page is shown; `started`: when its container started, empty while that is not known. */
  | { kind: 'served'; started: string };

/** What a view depends on besides its phase. */
interface IShown {
  model: Model;
  /** Of the environment; empty until the server has named it. */
  id: string;
  environment: IEnvironment | undefined;
  endpoint: string;
  /** When the work that is shown began, as of `Date.now()`. */
  since: number;
  /** Counts the containers that were shown. */
  generation: number;
}

export function viewOf(phase: Phase, shown: IShown): View {
  const { model, since } = shown;
  if (model.isEnding(shown.id)) {
    return { kind: 'ending' };
  }
  switch (phase.kind) {
    case 'asking': {
      const { cancelling } = phase;
      return { kind: 'working', job: null, since, cancelling };
    }
    case 'job': {
      const { cancelling } = phase;
      const job = model.job(phase.id) ?? null;
      return { kind: 'working', job, since, cancelling };
    }
    case 'arriving': {
      const job = model.job(phase.id) ?? null;
      return { kind: 'working', job, since, cancelling: false };
    }
    case 'failed':
    case 'cancelled':
      return phase;
    default:
      return viewOfEnvironment(phase, shown);
  }
}

function viewOfEnvironment({ kind }: Phase, shown: IShown): View {
  const { environment, model, since } = shown;
  const served = kind === 'served';
  if (model.engineDown && !served) {
    return { kind: 'engine-down' };
  }
  if (!environment) {
    return { kind: model.synced ? 'gone' : 'connecting' };
  }
  if (environment.state === 'stopped' || environment.state === 'failed') {
    return { kind: 'stopped', environment };
  }
  const page = environment.endpoints[shown.endpoint];
  if (environment.state === 'running' && served && page) {
    return {
      kind: 'frame',
      url: model.api.address(page.open),
      parts: model.api.address(page.url),
      key: String(shown.generation)
    };
  }
  return { kind: 'working', job: null, since, cancelling: false };
}
