#!/usr/bin/env bash
# Get a container engine if none answers: Debian's and Ubuntu's docker.io, started by systemd or by hand.
source "$(dirname "$0")/lib.sh"

LOG=.cache/dockerd.log
GUIDE=https://docs.docker.com/engine/install/

# Prints "ok", or the code and the message of the error, as the product sees it.
state() {
  .venv/bin/python - <<'PY'
import asyncio
from jupyter_mlenv.engines.docker import DockerEngine
from jupyter_mlenv.errors import MlenvError

async def main() -> None:
    engine = DockerEngine()
    try:
        await engine.facts()
        print("ok")
    except MlenvError as error:
        print(error.code, error.message)
    finally:
        await engine.close()

asyncio.run(main())
PY
}

# Somebody chose an engine; installing another one would not be what they meant.
refuse_if_chosen() {
  [ -z "${DOCKER_HOST:-}${DOCKER_CONTEXT:-}" ] || die "The chosen engine does not answer: ${1#* }" \
    "Start it, or unset DOCKER_HOST and DOCKER_CONTEXT to use the engine of this machine."
}

explain_permission() {
  is_root && die "The engine refuses us, though we are root: ${1#* }"
  die "A Docker engine is here, and $(id -un) may not use it." \
    "sudo usermod -aG docker $(id -un)   then log out and in again (or: newgrp docker), and run make again"
}

start() {
  if [ -d /run/systemd/system ]; then
    say "Starting the engine: systemctl enable --now docker"
    as_root systemctl enable --now docker
    return
  fi
  if grep -qsx dockerd /proc/[0-9]*/comm; then return; fi # it is on its way up, or stuck: not ours to end
  say "Starting the engine: dockerd in the background, its log in $LOG"
  mkdir -p .cache
  # A session of its own: Ctrl-C in `make lab` must not end the engine.
  as_root setsid --fork dockerd >"$LOG" 2>&1 </dev/null
}

# The newest state, until it is "ok" or 60 s have passed.
wait_for_it() {
  local answer="" end=$((SECONDS + 60))
  while [ $SECONDS -lt $end ]; do
    answer=$(state)
    case $answer in ok | engine_permission*) break ;; esac
    sleep 1
  done
  printf '%s' "$answer"
}

answer=$(state)
case $answer in
ok) exit 0 ;;
engine_permission*) explain_permission "$answer" ;;
esac
refuse_if_chosen "$answer"
if ! command -v dockerd >/dev/null; then
  command -v apt-get >/dev/null || die "No container engine answers, and this is neither Debian nor Ubuntu." \
    "Install Docker ($GUIDE), start it, and run make again."
  apt_lists
  cli=()
  if available docker-cli; then cli=(docker-cli); fi # Debian 13 has the command line in a package of its own
  install "A container engine" docker.io "${cli[@]}" iptables ca-certificates
fi
start
answer=$(wait_for_it)
case $answer in
ok) say "The engine answers" ;;
engine_permission*) explain_permission "$answer" ;;
*)
  [ ! -s "$LOG" ] || tail -n 15 "$LOG" >&2
  die "The engine does not start: ${answer#* }" "See $LOG or 'journalctl -u docker', or install Docker yourself: $GUIDE"
  ;;
esac
