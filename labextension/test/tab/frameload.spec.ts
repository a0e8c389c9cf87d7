import { onPartLost } from '../../src/tab/frameload';

const PARTS = 'http://hub.example/mlenv/envs/x-1/notebook/';

/** A frame with a page in it, whose parts and whose life are what a test says. */
class Frame {
  private _tell: (list: object) => void = () => undefined;
  private _watching = true;
  private _listeners = new Map<string, () => void>();
  shell = false;
  start: () => void = () => undefined;

  readonly page = {
    location: { href: PARTS },
    PerformanceObserver: this._observer(),
    setTimeout: (run: () => void, delay: number) =>
      delay === 0 ? setTimeout(run, 0) : 0,
    addEventListener: (type: string, run: () => void) =>
      this._listeners.set(type, run),
    removeEventListener: (type: string) => this._listeners.delete(type),
    document: { querySelector: () => (this.shell ? {} : null) },
    jupyterapp: undefined as { restored: Promise<void> } | undefined
  };
  readonly element = {
    contentWindow: this.page
  } as unknown as HTMLIFrameElement;

  /** A Lab that shows itself to scripts. */
  showsItself(): this {
    const restored = new Promise<void>(resolve => (this.start = resolve));
    this.page.jupyterapp = { restored };
    return this;
  }

  async fetched(
    path: string,
    responseStatus?: number,
    initiatorType = 'script'
  ): Promise<void> {
    if (this._watching) {
      const name = path.includes('://') ? path : PARTS + path;
      this._tell({
        getEntries: () => [{ name, responseStatus, initiatorType }]
      });
    }
    await new Promise(resolve => setTimeout(resolve, 1));
  }

  typed(): void {
    this._listeners.get('keydown')?.();
  }

  private _observer() {
    // eslint-disable-next-line @typescript-eslint/no-this-alias
    const frame = this;
    return class {
      constructor(callback: (list: object) => void) {
        frame._tell = callback;
      }
      observe = () => undefined;
      disconnect = () => {
        frame._watching = false;
      };
    };
  }
}

describe('a page that has just loaded', () => {
  let frame: Frame;
  let lost: jest.Mock;

  const watch = (one = new Frame()) => {
    frame = one;
    lost = jest.fn();
    onPartLost(frame.element, PARTS, lost);
  };

  beforeEach(() => watch());

  it('is whole when everything was answered, whatever the answer', async () => {
    await frame.fetched('lab/a.js', 200);
    await frame.fetched('lab/b.js', 404);
    await frame.fetched('lab/old-browser.js');
    await frame.fetched('http://hub.example/elsewhere.js', 0);
    expect(lost).not.toHaveBeenCalled();
  });

  it('tells once that a part of it was lost', async () => {
    await frame.fetched('lab/a.js', 0);
    await frame.fetched('lab/b.css', 0, 'link');
    expect(lost).toHaveBeenCalledTimes(1);
  });

  it('tells that what a Lab needs to start was lost', async () => {
    await frame.fetched('lab/api/settings?1', 0, 'fetch');
    expect(lost).toHaveBeenCalledTimes(1);
  });

  it('is not touched for a request that may have been taken back', async () => {
    await frame.fetched('api/contents?content=1', 0, 'fetch');
    await frame.fetched('api/kernels', 0, 'xmlhttprequest');
    await frame.fetched('files/picture.png', 0, 'img');
    await frame.fetched('lab/api/workspaces/x', 0, 'fetch');
    expect(lost).not.toHaveBeenCalled();
  });

  it('is not touched after somebody has typed in it', async () => {
    frame.typed();
    await frame.fetched('lab/a.js', 0);
    expect(lost).not.toHaveBeenCalled();
  });

  it('is not touched after its Lab has started', async () => {
    watch(new Frame().showsItself());
    frame.start();
    await frame.fetched('lab/a.js', 0);
    expect(lost).not.toHaveBeenCalled();
  });

  it('tells of a loss before its Lab has started', async () => {
    watch(new Frame().showsItself());
    frame.shell = true;
    await frame.fetched('lab/a.js', 0);
    expect(lost).toHaveBeenCalledTimes(1);
  });

  it('is not touched after a Lab that says nothing has drawn itself', async () => {
    frame.shell = true;
    await frame.fetched('lab/a.js', 0);
    expect(lost).not.toHaveBeenCalled();
  });

  it('is lost when it is the browser saying what went wrong', () => {
    const blocked = {
      get contentWindow() {
        return {
          get location(): Location {
            throw new DOMException('Blocked', 'SecurityError');
          }
        };
      }
    };
    lost = jest.fn();
    onPartLost(blocked as unknown as HTMLIFrameElement, PARTS, lost);
    expect(lost).toHaveBeenCalledTimes(1);
  });
});
