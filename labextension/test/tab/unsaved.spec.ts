import { saveAllIn, unsavedIn } from '../../src/tab/unsaved';

/** A frame whose page is a document of its own. */
function frameWith(jupyterapp?: object): HTMLIFrameElement {
  const frame = document.createElement('iframe');
  document.body.appendChild(frame);
  const page = frame.contentWindow as Window;
  Object.assign(page, { jupyterapp });
  // As browsers have it and jsdom does not: what is returned is a text.
  Object.assign(page.document, {
    createEvent: () =>
      Object.defineProperty(new Event('none'), 'returnValue', {
        value: '',
        writable: true
      })
  });
  return frame;
}

function asks(frame: HTMLIFrameElement): void {
  frame.contentWindow?.addEventListener('beforeunload', event =>
    event.preventDefault()
  );
}

const lab = (widgets: unknown, execute = jest.fn()) => ({
  commands: { execute },
  shell: { widgets: () => widgets }
});

const open = (path: string, dirty: boolean) => ({
  context: { path, model: { dirty } }
});

describe('what a page has not saved', () => {
  afterEach(() => document.body.replaceChildren());

  it('is nothing where the page asks nothing before it is left', async () => {
    const frame = frameWith(lab([open('a.txt', false)]));
    await expect(unsavedIn(frame)).resolves.toEqual({ kind: 'none' });
    await expect(unsavedIn(null)).resolves.toEqual({ kind: 'none' });
  });

  it('is known of any page that asks, and of a Lab by name', async () => {
    const stranger = frameWith();
    asks(stranger);
    await expect(unsavedIn(stranger)).resolves.toEqual({
      kind: 'some',
      names: [],
      canSave: false
    });
    const views = [open('a.ipynb', true), open('b.py', false), {}];
    const frame = frameWith(lab([...views, views[0]]));
    asks(frame);
    await expect(unsavedIn(frame)).resolves.toEqual({
      kind: 'some',
      names: ['a.ipynb'],
      canSave: true
    });
  });

  it('is understood where the page only gives a text to ask with', async () => {
    const frame = frameWith();
    frame.contentWindow?.addEventListener('beforeunload', event => {
      event.returnValue = 'Are you sure?';
    });
    await expect(unsavedIn(frame)).resolves.toMatchObject({ kind: 'some' });
  });

  it('has no names in a Lab with iterators of its own', async () => {
    const frame = frameWith(lab({ next: () => undefined }));
    asks(frame);
    await expect(unsavedIn(frame)).resolves.toMatchObject({ names: [] });
  });

  it('is nothing of ours in a page that cannot be reached', async () => {
    const frame = {
      get contentWindow(): Window {
        return {
          get document(): Document {
            throw new DOMException('Blocked', 'SecurityError');
          }
        } as Window;
      }
    };
    await expect(unsavedIn(frame as HTMLIFrameElement)).resolves.toEqual({
      kind: 'none'
    });
  });

  it('is saved by the Lab itself, which may fail', async () => {
    const execute = jest.fn().mockRejectedValue(new Error('read-only'));
    await saveAllIn(frameWith(lab([], execute)));
    expect(execute).toHaveBeenCalledWith('docmanager:save-all');
    await saveAllIn(frameWith());
    await saveAllIn(null);
  });
});
