"""The traits about the person: git, variables and folders that go along into environments."""

from __future__ import annotations

import re
from typing import Any

from traitlets import Bool, List, TraitError, Unicode, validate
from traitlets.config import LoggingConfigurable

from ..workspaces import KEYS

_PATTERN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\*?")


class PersonTraits(LoggingConfigurable):
    """The person in environments: git, variables and folders."""

    git_identity = Bool(
        True,
        help="""Whether git in environments knows the name and e-mail that it knows outside, so that `git commit`
        works. Nothing else of git's settings gets in: no credentials, helpers, keys or includes.

        Example: `c.MlenvConfig.git_identity = False`""",
    ).tag(config=True)

    pass_env = List(
        Unicode(),
        help="""Variables that go on into kernels and shells from whoever starts them: names, or the beginning of
        names with a `*` behind it. `KERNEL_*` always does. Without, `RUN_DATE=2026-01-31 papermill …` does not
        arrive in an environment.

        Example: `c.MlenvConfig.pass_env = ["RUN_DATE", "WANDB_*"]`""",
    ).tag(config=True)

    @validate("pass_env")
    def _valid_pass_env(self, proposal: Any) -> list[str]:
        patterns: list[str] = proposal["value"]
        for pattern in patterns:
            if not _PATTERN.fullmatch(pattern):
                raise TraitError(
                    f"MlenvConfig.pass_env: {pattern!r} is neither the name of a variable nor the beginning of "
                    'names with a star behind it, such as "WANDB_*".'
                )
        return patterns

    shared_folders = List(
        Unicode(),
        help="""Folders below your home directory that every environment has at the same place, to read and to write:
        caches of models and data sets, which are downloaded only once then. They are made where they are missing.
        Code in an environment can change what lies in them, and programs outside may run that.

        Example: `c.MlenvConfig.shared_folders = [".cache/huggingface", ".cache/torch"]`""",
    ).tag(config=True)

    @validate("shared_folders")
    def _valid_shared_folders(self, proposal: Any) -> list[str]:
        folders = [str(folder).removeprefix("~/").rstrip("/") for folder in proposal["value"]]
        for folder in folders:
            words = folder.split("/")
            if not folder or folder.startswith("~") or {"", ".", ".."} & set(words) or not folder.isprintable():
                raise TraitError(
                    f"MlenvConfig.shared_folders: {folder!r} is not a path below the home directory; write for "
                    'example ".cache/huggingface".'
                )
            if words[0] in KEYS:
                raise TraitError(
                    f"MlenvConfig.shared_folders: {folder!r} holds keys or settings, which no environment gets. "
                    "Take it out."
                )
        return folders
