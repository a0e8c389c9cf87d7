"""The page in a browser tab when the proxy has no answer from the container. Pure."""

from __future__ import annotations

from html import escape

from ..errors import MlenvError

TITLES = {
    "forbidden": "You may not open this",
    "environment_not_found": "There is no such environment",
    "endpoint_not_found": "This environment has no such service",
    "environment_not_running": "This environment is not running",
    "container_exited": "The environment has stopped",
    "service_exited": "The service did not start",
    "service_timeout": "The service takes too long to start",
    "engine_unavailable": "The container engine does not answer",
}

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
{refresh}<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 12vh auto 2rem; padding: 0 1.5rem; }}
h1 {{ font-size: 1.35rem; font-weight: 600; margin: 0 0 .75rem; }}
pre {{ overflow: auto; max-height: 40vh; padding: .75rem 1rem; border: 1px solid #8886; border-radius: 4px;
  font-size: 12px; }}
a {{ display: inline-block; margin-top: 1rem; padding: .4rem 1rem; border: 1px solid #8886; border-radius: 4px;
  color: inherit; text-decoration: none; }}
.hint {{ opacity: .85; }}
.code {{ opacity: .6; font-size: 12px; margin-top: 2rem; }}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p>{message}</p>
{hint}{log}<a href="{address}">{again}</a>
<p class="code">{code}</p>
</main>
</body>
</html>
"""

POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'"
"""The page's Content-Security-Policy: it loads and runs nothing."""


CONFIRM_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
"""That of the page that asks: nobody may show it in a frame and have it clicked unseen."""


def error_page(error: MlenvError) -> str:
    """Return the page for an error: what happened, what to do now, the log's last lines if there are any."""
    return _PAGE.format(
        refresh="",
        address="",
        title=escape(TITLES.get(error.code, "This page could not be loaded")),
        message=escape(error.message),
        hint=f'<p class="hint">{escape(error.hint)}</p>\n' if error.hint else "",
        log="<pre>{}</pre>\n".format(escape("\n".join(error.log))) if error.log else "",
        again="Try again",
        code=f"{escape(error.code)} ({error.status})",
    )


def confirm_page(endpoint: str, environment: str, onward: str = "") -> str:
    """Return the page that asks before another web site's link opens something; its own link comes from this server.

    With an address it goes `onward` without being asked.
    """
    refresh = f'<meta http-equiv="refresh" content="0; url={escape(onward)}">' if onward else ""
    return _PAGE.format(
        refresh=refresh,
        address=escape(onward),
        title=f"Open {escape(endpoint)} of {escape(environment)}?",
        message="A link on another web site, or in another program, has led here.",
        hint='<p class="hint">Nothing was started yet. If you did not expect this, close the page.</p>\n',
        log="",
        again="Open",
        code="Links from this server and addresses that you type need no confirmation.",
    )
