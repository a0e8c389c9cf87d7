"""`python -m jupyter_mlenv.cli`, for where the console script is not on PATH."""

from __future__ import annotations

import sys

from .app import main

sys.exit(main())
