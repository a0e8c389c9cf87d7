import { onPartLost } from '../src/arrival';

const PARTS = 'http://hub.example/mlenv/envs/x-1/notebook/';

/** A frame whose page has fetched what the returned function is told. */
function frameThat(): {
  frame: HTMLIFrameElement;
  fetched: (url: string, responseStatus?: number) => void;
} {
  let tell: (list: object) => void = () => undefined;
  let watching = true;
  class Observer {
    constructor(callback: (list: object) => void) {
      tell = callback;
    }
    observe = () => undefined;
    disconnect = () => {
      watching = false;
    };
  }
  const contentWindow = {
    location: { href: PARTS },
    PerformanceObserver: Observer,
    setTimeout: () => 0
  };
  return {
    frame: { contentWindow } as unknown as HTMLIFrameElement,
    fetched: (name, responseStatus) => {
      if (watching) {
        tell({ getEntries: () => [{ name, responseStatus }] });
      }
    }
  };
}

describe('a page that has just loaded', () => {
  it('is whole when everything was answered, whatever the answer', () => {
    const lost = jest.fn();
    const { frame, fetched } = frameThat();
    onPartLost(frame, PARTS, lost);
    fetched(`${PARTS}lab/a.js`, 200);
    fetched(`${PARTS}lab/b.js`, 404);
    fetched(`${PARTS}lab/old-browser.js`);
    fetched('http://hub.example/elsewhere.js', 0);
    expect(lost).not.toHaveBeenCalled();
  });

  it('tells once that a part of it was lost', () => {
    const lost = jest.fn();
    const { frame, fetched } = frameThat();
    onPartLost(frame, PARTS, lost);
    fetched(`${PARTS}lab/a.js`, 0);
    fetched(`${PARTS}lab/b.js`, 0);
    expect(lost).toHaveBeenCalledTimes(1);
  });

  it('is lost when it is the browser saying what went wrong', () => {
    const lost = jest.fn();
    const frame = {
      get contentWindow() {
        return {
          get location(): Location {
            throw new DOMException('Blocked', 'SecurityError');
          }
        };
      }
    };
    onPartLost(frame as unknown as HTMLIFrameElement, PARTS, lost);
    expect(lost).toHaveBeenCalledTimes(1);
  });
});
