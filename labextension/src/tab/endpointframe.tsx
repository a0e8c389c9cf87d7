import React, { useRef } from 'react';

import { onPartLost } from './frameload';

/** How often a page that lost a part of itself on the way is loaded again. */
const MOST_RELOADS = 2;

/** The page of an endpoint. */
export function Page(props: {
  url: string;
  /** The address below which the page's parts are. */
  parts: string;
  title: string;
  /** Whether the server can be reached now. */
  connected: () => boolean;
  onFocus: () => void;
}): JSX.Element {
  const { url, parts, title, connected, onFocus } = props;
  const reloads = useRef(0);

  const onLoad = (event: React.SyntheticEvent<HTMLIFrameElement>) => {
    const frame = event.currentTarget;
    onPartLost(frame, parts, () => {
      const more = reloads.current < MOST_RELOADS;
      if (more && frame.isConnected && connected()) {
        reloads.current += 1;
        frame.src = url;
      }
    });
    // The page is on our origin, so it can tell when it is clicked; the window's own blur comes only the first time.
    try {
      frame.contentWindow?.addEventListener('focus', onFocus);
    } catch {
      // The browser's own page about an error.
    }
  };

  return (
    <div className="jp-mlenv-Page jp-IFrame">
      <iframe
        src={url}
        title={title}
        allow="clipboard-read; clipboard-write; fullscreen"
        onLoad={onLoad}
      />
    </div>
  );
}
