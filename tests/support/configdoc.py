"""The reference part of docs/configuration.md, written from the traits: `python -m tests.support.configdoc`."""

from __future__ import annotations

import re
import textwrap

from jupyter_mlenv.config import MlenvConfig
from tests.support.repository import ROOT

PAGE = ROOT / "docs" / "configuration.md"
MARK = "<!-- Written from the traits by `python -m tests.support.configdoc`. -->"

GROUPS = {
    "The engine": ("engine_kind", "engine_url", "engine_threads", "shared_filesystem", "publish_host", "network"),
    "Who, and which folders": ("owner", "allowed_workspaces", "allow_home", "run_root"),
    "Presets and images": ("preset_paths", "image_aliases", "builder", "host_python"),
    "Certificates, proxies, package index": (
        "ca_bundle",
        "pass_pip_settings",
        "pass_proxies",
        "proxies",
        "pip_index_url",
        "pip_extra_index_urls",
        "pip_trusted_hosts",
        "pip_find_links",
    ),
    "Limits": ("default_memory", "default_cpus", "default_pids", "default_shm", "start_timeout"),
    "Maxima": ("max_memory", "max_cpus", "max_pids", "max_gpus", "allowed_images", "project_presets"),
    "The person": ("git_identity", "pass_env", "shared_folders"),
    "The Jupyter server": (
        "tcp_nodelay",
        "gc_freeze",
        "login_cache_seconds",
        "idle_endpoints",
        "auto_kernels",
        "take_over_kernels",
        "kernel_grace",
    ),
}


def reference() -> str:
    """One section per trait: type, default where it does not depend on the machine, help, example."""
    traits = MlenvConfig.class_own_traits() | MlenvConfig.class_traits(config=True)
    lines = [MARK]
    for title, names in GROUPS.items():
        lines += ["", f"## {title}"]
        for name in names:
            trait = traits[name]
            text, example = re.split(r"\n\s*\n\s*Example: ", trait.help)
            kind = type(trait).__name__
            default = "" if " Default: " in " ".join(text.split()) else f", default `{trait.default()!r}`"
            words = f"*{kind}{default}.* {' '.join(text.split())}"
            prose = textwrap.wrap(words, 120, break_long_words=False, break_on_hyphens=False)
            lines += ["", f"### `{name}`", "", *prose, ""]
            lines += ["```python", example.strip("`"), "```"]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the reference below the mark; what stands above it stays."""
    PAGE.write_text(PAGE.read_text().split(MARK)[0] + reference())


if __name__ == "__main__":
    main()
