import { MlenvError } from '../api/client';
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
