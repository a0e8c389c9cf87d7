"""Starts the agent beside this file, or says that this Python is too old for it, which Python 2 too can read."""

import os
import sys

NEEDED = (3, 8)


def main():  # type: ignore[no-untyped-def]
    if sys.version_info < NEEDED:
        found = sys.version.split()[0]
        sys.exit("mlenv agent: Python %s is too old, %d.%d or newer is needed" % ((found,) + NEEDED))  # noqa: UP031, RUF005
    # Only while it is imported: what the agent starts is to find the image's modules, never ours.
    folder = os.path.dirname(os.path.abspath(__file__))
    sys.path.insert(0, folder)
    agent = __import__("agent")
    sys.path[:] = [path for path in sys.path if path != folder]
    agent.main(sys.argv[1:])


if __name__ == "__main__":
    main()  # type: ignore[no-untyped-call]
