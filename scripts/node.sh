#!/usr/bin/env bash
# Say so early if Node is missing or too old for the front end's tools.
source "$(dirname "$0")/lib.sh"

how="Install Node 20 or newer: https://nodejs.org/en/download"
command -v node >/dev/null || die "The lab extension is built with Node, which is not installed." "$how"
version=$(node --version)
major=${version#v}
[ "${major%%.*}" -ge 20 ] || die "The lab extension is built with Node 20 or newer; this is $version." "$how"
