#!/usr/bin/env bash
# Run test suites, each in a process of its own, then print each one's closing line. Fails if one failed.
# test.sh [lab] [unit] [engine] [ui]
source "$(dirname "$0")/lib.sh"

run() {
  case $1 in
  lab) (cd labextension && PATH="$OLDPWD/.venv/bin:$PATH" jlpm test) ;;
  *) .venv/bin/python -m pytest "tests/$1" ;;
  esac
}

closing_line() {
  case $1 in
  lab) grep '^Tests: ' "$2" | tail -n 1 ;;
  *) grep -E '^=+ .* in [0-9.]+s' "$2" | tail -n 1 ;;
  esac
}

mkdir -p .cache/test
failed=0
lines=()
for suite in "$@"; do
  log=.cache/test/$suite.log
  say "Tests: $suite"
  result=passed
  run "$suite" 2>&1 | tee "$log" || { result=FAILED failed=1; }
  lines+=("$(printf '%-7s %-7s %s' "$suite" "$result" "$(closing_line "$suite" "$log" || echo 'it ended without a closing line')")")
done
printf '\n'
printf '%s\n' "${lines[@]}"
exit $failed
