"""Starts the agent, whose package lies beside this file, or says that this Python is too old; Python 2 reads it too."""

import sys

NEEDED = (3, 8)


def main():  # type: ignore[no-untyped-def]
    if sys.version_info < NEEDED:
        found = sys.version.split()[0]
        sys.exit("mlenv agent: Python %s is too old, %d.%d or newer is needed" % ((found,) + NEEDED))  # noqa: UP031, RUF005
    from mlenv_agent import agent  # type: ignore[import-not-found]  # noqa: PLC0415

    agent.main(sys.argv[1:])


if __name__ == "__main__":
    main()  # type: ignore[no-untyped-call]
