/** How long after its load event a page still fetches parts of itself, in milliseconds. */
const SETTLING = 10_000;

/**
 * Call `lost` once if a part of a page that has just loaded did not arrive.
 *
 * Browsers drop connections when an address of their machine changes (`net::ERR_NETWORK_CHANGED` in Chromium), and a
 * container that starts on the same machine is such a change.
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
  const observer = new page.PerformanceObserver(list => {
    const parts = list.getEntries() as PerformanceResourceTiming[];
    if (parts.some(part => isLost(part, prefix))) {
      observer.disconnect();
      lost();
    }
  });
  observer.observe({ type: 'resource', buffered: true });
  page.setTimeout(() => observer.disconnect(), SETTLING);
}

/** A status of 0 is a request that was never answered; a browser that tells no status tells of no loss either. */
function isLost(part: PerformanceResourceTiming, prefix: string): boolean {
  return part.responseStatus === 0 && part.name.startsWith(prefix);
}

function reachable(frame: HTMLIFrameElement): typeof window | null {
  try {
    const page = frame.contentWindow as typeof window | null;
    return page?.location.href ? page : null;
  } catch {
    return null;
  }
}
