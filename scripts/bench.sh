#!/usr/bin/env bash
# Every benchmark in turn, each a side-by-side comparison that prints its ratios.
source "$(dirname "$0")/lib.sh"

failed=()
for benchmark in benchmarks/bench_*.py; do
  say "$benchmark"
  .venv/bin/python "$benchmark" || failed+=("$benchmark")
done
[ ${#failed[@]} -eq 0 ] || die "These did not run to their end: ${failed[*]}"
