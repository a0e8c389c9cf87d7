#!/usr/bin/env bash
# Run test suites beside each other, each in processes of its own, then print each one's closing line. Fails if one failed.
# test.sh [lab] [unit] [agent] [server] [engine] [ui]
source "$(dirname "$0")/lib.sh"

# Tests wait more than they compute, so there are more of them at once than processors. Those of one file run one after the other.
pytest_beside() { .venv/bin/python -m pytest --dist loadfile --numprocesses "$1" "tests/$2"; }

# Run a command in a network of its own, which has loopback only. Chromium drops every request that is under way when an address
# of the machine changes, as it does when any container starts.
without_network() {
  local root=()
  is_root || root=(sudo --preserve-env env "PATH=$PATH" "HOME=$HOME") # sudo has a path of its own
  # Setting up a network takes root; what runs in it is this user's.
  "${root[@]}" unshare --net sh -c 'ip link set lo up && exec "$@"' sh \
    setpriv --reuid "$(id -u)" --regid "$(id -g)" --init-groups "$@"
}

run() {
  case $1 in
  lab) (cd labextension && PATH="$OLDPWD/.venv/bin:$PATH" jlpm test) ;;
  unit | agent | server) pytest_beside 2 "$1" ;;
  engine) pytest_beside 3 engine ;;
  ui) without_network .venv/bin/python -m pytest --dist loadfile --numprocesses 1 tests/ui ;;
  *) die "There is no suite '$1'." "Choose from: lab unit agent server engine ui." ;;
  esac
}

closing_line() {
  case $1 in
  lab) grep '^Tests: ' "$2" | tail -n 1 ;;
  *) grep -E '^=+ .* in [0-9.]+s' "$2" | tail -n 1 ;;
  esac
}

# Those of one row run one after the other, rows beside each other. Each prints its output as a whole when it ends.
rows=("engine" "ui" "lab unit agent server")

row() {
  local suite began failed=0
  for suite in "$@"; do
    began=$SECONDS
    if run "$suite" >".cache/test/$suite.log" 2>&1; then echo passed; else echo FAILED; fi >".cache/test/$suite.result"
    # One write, so that the outputs of two suites that end together are not mixed.
    printf '%s\n' "==> Tests: $suite ($((SECONDS - began)) s)" "$(cat ".cache/test/$suite.log")"
  done
}

mkdir -p .cache/test
if [ $# = 1 ]; then
  run "$1"
  exit
fi
rm -f .cache/test/*.result
say "Tests: $*; each is shown when it ends, .cache/test has their logs"
# A process group for each row, so that Ctrl-C ends the tests with their cleaning up.
set -m
trap 'for group in $(jobs -p); do kill -INT -- "-$group" 2>/dev/null || true; done; wait' EXIT
for suites in "${rows[@]}"; do
  wanted=()
  for suite in $suites; do [[ " $* " != *" $suite "* ]] || wanted+=("$suite"); done
  [ ${#wanted[@]} = 0 ] || row "${wanted[@]}" &
done
wait
failed=0
printf '\n'
for suite in "$@"; do
  result=$(cat ".cache/test/$suite.result" 2>/dev/null || echo FAILED)
  [ "$result" = passed ] || failed=1
  printf '%-7s %-7s %s\n' "$suite" "$result" "$(closing_line "$suite" ".cache/test/$suite.log" || echo 'it ended without a closing line')"
done
exit $failed
