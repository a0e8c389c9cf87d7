#!/usr/bin/env bash
# JupyterLab from .venv. PORT, HOST, NO_BROWSER=1; further arguments go to it as they are.
source "$(dirname "$0")/lib.sh"

arguments=("--ServerApp.ip=${HOST:-127.0.0.1}" "--ServerApp.port=${PORT:-8888}")
case ${NO_BROWSER:-} in "" | 0 | false) ;; *) arguments+=(--no-browser) ;; esac
# Root on a machine of one's own is ordinary (a container, a cloud machine); Jupyter wants it said.
if is_root; then arguments+=(--allow-root); fi
exec .venv/bin/jupyter lab "${arguments[@]}" "$@"
