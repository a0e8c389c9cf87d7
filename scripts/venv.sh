#!/usr/bin/env bash
# Make .venv with $PYTHON (default python3), getting the venv module on Debian and Ubuntu where it is missing.
source "$(dirname "$0")/lib.sh"

python=${PYTHON:-python3}
command -v "$python" >/dev/null || die "There is no $python." "Install Python 3.10 or newer, or: make PYTHON=/path/to/python3 …"
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
  die "$python is Python $version; 3.10 or newer is needed." "make PYTHON=/path/to/newer/python3 …"
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  # Debian splits the module off; a Python from elsewhere has it.
  install "A virtual environment" "python$version-venv"
fi
say "Making .venv with Python $version"
"$python" -m venv .venv
