/** What a page inside a tab holds that is saved nowhere. */
export type Unsaved =
  | { kind: 'none' }
  /** `names`: of the documents, as far as they are known. `canSave`: whether the page can be told to save them. */
  | { kind: 'some'; names: readonly string[]; canSave: boolean };

/** As much of a JupyterLab that shows itself to scripts as is used here, whatever its version. */
interface IExposedLab {
  commands: { execute(id: string): Promise<unknown> };
  shell: { widgets(area: string): Iterable<IMaybeDocument> };
}

interface IMaybeDocument {
  context?: { path?: string; model?: { dirty?: boolean } };
}

type InnerWindow = Window & { jupyterapp?: IExposedLab };

/**
 * Ask the page in a frame what it would lose if it were closed.
 *
 * Any page that asks before it is left is understood, also a Lab that shows nothing of itself. A page that cannot be
 * reached is the browser's own about an error, or somebody else's: it holds nothing of ours. A promise, though all of
 * this is known at once, since a page of another origin could only be asked by messages.
 */
export function unsavedIn(frame: HTMLIFrameElement | null): Promise<Unsaved> {
  const page = reachable(frame);
  if (!page || !asksBeforeLeaving(page)) {
    return Promise.resolve({ kind: 'none' });
  }
  const lab = page.jupyterapp;
  const names = lab ? dirty(lab) : [];
  return Promise.resolve({ kind: 'some', names, canSave: !!lab });
}

/** Have the Lab in a frame save all that it can. What it could not save it says itself, and has still unsaved. */
export async function saveAllIn(
  frame: HTMLIFrameElement | null
): Promise<void> {
  const lab = reachable(frame)?.jupyterapp;
  await lab?.commands.execute('docmanager:save-all').catch(() => undefined);
}

/** Nothing is left: a page has to bear the question, since a person may cancel any leave. */
function asksBeforeLeaving(page: InnerWindow): boolean {
  const event = page.document.createEvent('BeforeUnloadEvent');
  event.initEvent('beforeunload', false, true);
  page.dispatchEvent(event);
  return event.defaultPrevented || !!event.returnValue;
}

/** The names of a Lab's documents with changes, each once. */
function dirty(lab: IExposedLab): string[] {
  const widgets = lab.shell.widgets('main');
  if (!(Symbol.iterator in widgets)) {
    return []; // an old Lab's own kind of iterator
  }
  const paths = [...widgets].map(({ context }) =>
    context?.model?.dirty ? context.path : undefined
  );
  return [...new Set(paths.filter(path => path !== undefined))];
}

function reachable(frame: HTMLIFrameElement | null): InnerWindow | null {
  try {
    const page: InnerWindow | null | undefined = frame?.contentWindow;
    return page?.document ? page : null;
  } catch {
    return null;
  }
}
