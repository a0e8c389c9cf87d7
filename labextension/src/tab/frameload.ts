/** How long after its load event a page still fetches parts of itself, in milliseconds. */
const SETTLING = 10_000;

/** What only the page's own markup asks for, and nobody takes back. */
const PARTS = ['link', 'script'];

/** What a JupyterLab asks its server before it can start. All else that it fetches may be taken back at any time. */
const BEFORE_START = /^lab\/api\/(settings|translations)\b/;

/** What a person does first in a page that they work in. */
const INPUT = ['keydown', 'pointerdown', 'wheel'];

/** A JupyterLab that its page shows to scripts. */
interface IStarting {
  jupyterapp?: { restored: Promise<unknown> };
}

/**
 * Call `lost` once if a part of a page that has just loaded did not arrive.
 *
 * Browsers drop connections when an address of their machine changes (`net::ERR_NETWORK_CHANGED` in Chromium), and a
 * container that starts on the same machine is such a change. Never called once the Lab in it has started, or somebody
 * has clicked or typed: then there is something to lose.
 *
 * `prefix`: where the page's parts are; what it fetches elsewhere is its own business.
 */
export function onPartLost(
  frame: HTMLIFrameElement,
  prefix: string,
  lost: () => void
): void {
  const page = reachable(frame);
  if (!page) {
    lost(); // the browser's own page about an error
    return;
  }
  let over = false;
  let waits = false;
  const finish = () => {
    over = true;
    observer.disconnect();
    INPUT.forEach(type => page.removeEventListener(type, finish, true));
  };
  const waitForStart = () => {
    if (!waits && page.jupyterapp) {
      waits = true;
      void page.jupyterapp.restored.then(finish, () => undefined);
    }
  };
  const observer = new page.PerformanceObserver(list => {
    waitForStart();
    const parts = list.getEntries() as PerformanceResourceTiming[];
    if (!parts.some(part => isLost(part, prefix)) || hasShell(page)) {
      return;
    }
    // A Lab that has started before this was told has said so by then.
    page.setTimeout(() => {
      if (!over) {
        finish();
        lost();
      }
    }, 0);
  });
  INPUT.forEach(type => page.addEventListener(type, finish, true));
  waitForStart();
  observer.observe({ type: 'resource', buffered: true });
  page.setTimeout(finish, SETTLING);
}

/** A status of 0 is a request that was never answered; a browser that tells no status tells of no loss either. */
function isLost(part: PerformanceResourceTiming, prefix: string): boolean {
  return (
    part.responseStatus === 0 &&
    part.name.startsWith(prefix) &&
    (PARTS.includes(part.initiatorType) ||
      BEFORE_START.test(part.name.slice(prefix.length)))
  );
}

/** Whether a Lab that says nothing to scripts has drawn itself. */
function hasShell(page: IStarting & Window): boolean {
  return !page.jupyterapp && !!page.document.querySelector('.jp-LabShell');
}

function reachable(
  frame: HTMLIFrameElement
): (IStarting & typeof window) | null {
  try {
    const page = frame.contentWindow as (IStarting & typeof window) | null;
    return page?.location.href ? page : null;
  } catch {
    return null;
  }
}
