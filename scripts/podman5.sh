#!/usr/bin/env bash
# Run the contract of engines on Podman 5, that of Debian 13, beside whatever engine this machine has.
# podman5.sh [PYTEST-ARGUMENT …]
#
# Its programs want a newer libc than Debian 12 has. They get it from their own folder, so this machine's files stay as they are:
# what is mounted into containers is the same for this engine as for the tests.
source "$(dirname "$0")/lib.sh"

folder=$PWD/.cache/podman5
libraries=$folder/root/usr/lib/x86_64-linux-gnu
podman=$folder/root/usr/bin/podman

fetch() {
  [ ! -x "$podman" ] || return 0
  say "Getting Podman 5 from Debian 13"
  unpack_debian13 "$folder" podman conmon netavark aardvark-dns catatonit golang-github-containers-common libc6 \
    libassuan9 libgpg-error0 libgpgme11t64 libseccomp2 libsqlite3-0 libsubid5 libglib2.0-0t64 libsystemd0 libcap2 libpcre2-8-0 \
    libaudit1 libselinux1 libcap-ng0 libbsd0 libmd0 libacl1 libattr1 libsemanage2 libcrypt1 libpam0g
  command -v patchelf >/dev/null || as_root apt-get install -qq -y patchelf >/dev/null
  local program
  for program in "$podman" "$folder"/root/usr/bin/conmon "$folder"/root/usr/lib/podman/{netavark,aardvark-dns}; do
    patchelf --set-interpreter "$libraries/ld-linux-x86-64.so.2" --force-rpath --set-rpath "$libraries" "$program"
  done
}

down() {
  local pid
  if pid=$(as_root cat "$folder/pid" 2>/dev/null) && grep -qsx podman "/proc/$pid/comm" && as_root kill "$pid"; then
    while as_root kill -0 "$pid" 2>/dev/null; do sleep 0.2; done
  fi
  as_root umount "$folder"/data/overlay 2>/dev/null || true
  as_root rm -rf "$folder"/{data,run,pid,socket}
}

up() {
  mkdir -p "$folder"/{data,run,home/.config/containers}
  echo '{"default": [{"type": "insecureAcceptAnything"}]}' >"$folder/home/.config/containers/policy.json"
  cat >"$folder/home/.config/containers/containers.conf" <<CONF
[engine]
helper_binaries_dir = ["$folder/root/usr/lib/podman"]
conmon_path = ["$folder/root/usr/bin/conmon"]
cgroup_manager = "cgroupfs"
runtime = "runc"
[containers]
init_path = "$folder/root/usr/bin/catatonit"
# No more than this machine allows; its own default of a million fails where that is less.
default_ulimits = ["nofile=$(ulimit -Hn):$(ulimit -Hn)", "nproc=$(ulimit -Hu | sed 's/unlimited/-1/'):$(ulimit -Hu | sed 's/unlimited/-1/')"]
seccomp_profile = "$folder/root/usr/share/containers/seccomp.json"
[network]
# The rules for containers' way out are the first engine's; these tests need none.
firewall_driver = "none"
CONF
  as_root env HOME="$folder/home" PODMAN_IGNORE_CGROUPSV1_WARNING=1 PATH="/usr/sbin:/sbin:$PATH" setsid --fork sh -c \
    'echo $$ >"$0/pid"; exec "$1" --root "$0/data" --runroot "$0/run" --storage-driver overlay system service --time=0 "unix://$0/socket"' \
    "$folder" "$podman" >"$folder/log" 2>&1 </dev/null
  for _ in $(seq 150); do
    if curl -sf --unix-socket "$folder/socket" http://podman/_ping >/dev/null; then return; fi
    sleep 0.2
  done
  tail -n 15 "$folder/log" >&2
  die "Podman 5 does not start." "See $folder/log."
}

fetch
down
trap down EXIT
up
say "Tests: the contract of engines, on $("$podman" --version)"
export CONTRACT_ENGINE=podman CONTRACT_URL=unix://$folder/socket
.venv/bin/python -m pytest "${@:-tests/engine/contract}"
