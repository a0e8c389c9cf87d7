# shellcheck shell=bash
# What the other scripts share; sourced, never run.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# A person's path often lacks the directories where dockerd and debootstrap are.
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

# Machines that build images often forbid bytecode; then each of the hundred programs that tests start compiles the package.
unset PYTHONDONTWRITEBYTECODE

say() { printf '==> %s\n' "$*"; }

# die MESSAGE [WHAT TO DO]
die() {
  printf '\nerror: %s\n' "$1" >&2
  [ -z "${2:-}" ] || printf 'do:    %s\n' "$2" >&2
  exit 1
}

is_root() { [ "$(id -u)" = 0 ]; }

may_install() { command -v apt-get >/dev/null && { is_root || command -v sudo >/dev/null; }; }

as_root() {
  if is_root; then "$@"; else sudo "$@"; fi
}

# The packages among the given ones that are not installed.
not_installed() {
  local package
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep '^install ok installed' >/dev/null || echo "$package"
  done
}

apt_get() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 "$@"
}

# Fresh package lists; at most once an hour.
apt_lists() {
  # Our own mark: the date of a list is its mirror's, and an image may ship without any list.
  local mark=.cache/apt-updated
  [ -z "$(find "$mark" -mmin -60 2>/dev/null)" ] || return 0
  apt_get update || say "apt-get update had problems; going on with the package lists that are here"
  mkdir -p .cache && touch "$mark"
}

# Whether apt could install this package. (grep -q would end early, and with pipefail the broken pipe would be a "no".)
available() { apt-cache policy "$1" 2>/dev/null | grep 'Candidate: [^(]' >/dev/null; }

# install WHAT-FOR PACKAGE…: Debian packages, if they are missing.
install() {
  local purpose=$1 missing
  shift
  command -v apt-get >/dev/null || die "$purpose: needs $*, and this is neither Debian nor Ubuntu." "Install: $*"
  mapfile -t missing < <(not_installed "$@")
  [ ${#missing[@]} -gt 0 ] || return 0
  may_install || die "$purpose: needs ${missing[*]}." "as root: apt-get install ${missing[*]}"
  say "$purpose: installing ${missing[*]}"
  apt_lists
  apt_get install -y --no-install-recommends "${missing[@]}" >/dev/null
}

# unpack_debian13 FOLDER PACKAGE…: packages of Debian 13, unpacked into FOLDER/root and not installed, whichever Debian this is.
unpack_debian13() {
  local folder=$1 mirror package
  shift
  mirror=$(cat /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list 2>/dev/null | grep -v '^ *#' | grep -om1 'http[^ ]*' || true)
  [ -n "$mirror" ] || die "No package mirror of Debian is configured on this machine." "Run this on Debian."
  mkdir -p "$folder"/{root,debs,apt/lists/partial,apt/archives/partial}
  : >"$folder/apt/status"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" >"$folder/apt/sources.list"
  local options=(-qq -o "Dir::Etc::sourcelist=$folder/apt/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::Cache=$folder/apt"
    -o "Dir::State::lists=$folder/apt/lists" -o "Dir::State::status=$folder/apt/status" -o APT::Sandbox::User=root)
  apt-get "${options[@]}" update
  (cd "$folder/debs" && apt-get "${options[@]}" download "$@")
  for package in "$folder"/debs/*.deb; do dpkg-deb -x "$package" "$folder/root"; done
}
