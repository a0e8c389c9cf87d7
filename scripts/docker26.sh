#!/usr/bin/env bash
# Run the engine's tests on Docker 26.1, that of Debian 13, beside whatever engine this machine has.
# docker26.sh [PYTEST-ARGUMENT …]
#
# Its dockerd and containerd need only libc 2.34, so they run on Debian 12 and Ubuntu 22.04 as they are, without a chroot: host
# paths mean the same for the engine and for the tests. Its runc wants libc 2.38, so the installed one is used.
source "$(dirname "$0")/lib.sh"

folder=$PWD/.cache/docker26
bridge=mlenv26
network=10.77.26

fetch() {
  [ ! -x "$folder/root/usr/sbin/dockerd" ] || return 0
  say "Getting Docker 26.1 from Debian 13"
  unpack_debian13 "$folder" docker.io containerd tini docker-cli
}

# rules -I | -D: containers get out. The daemon may set no rules itself, since that empties the chains of the first one.
rules() {
  as_root iptables "$1" FORWARD -s "$network.0/24" -j ACCEPT
  as_root iptables "$1" FORWARD -d "$network.0/24" -j ACCEPT
  as_root iptables -t nat "$1" POSTROUTING -s "$network.0/24" ! -d "$network.0/24" -j MASQUERADE
}

answers() { docker -H "unix://$folder/socket" version >/dev/null 2>&1; }

down() {
  local pid
  # Only if that number is still a daemon's.
  if pid=$(as_root cat "$folder/pid" 2>/dev/null) && grep -qsx dockerd "/proc/$pid/comm" && as_root kill "$pid"; then
    while as_root kill -0 "$pid" 2>/dev/null; do sleep 0.2; done
  fi
  rules -D 2>/dev/null || true
  as_root ip link delete "$bridge" 2>/dev/null || true
  # Those of containers that still ran when the daemon ended.
  as_root umount "$folder"/exec/netns/* 2>/dev/null || true
  # A daemon that goes on with the networks of an earlier one has been seen to remove docker0, which is the first engine's.
  as_root rm -rf "$folder"/{data,exec,pid,socket}
}

up() {
  as_root mkdir -p "$folder"/{data,exec}
  # A bridge of its own: with `--bridge=none` a daemon deletes the first one's.
  as_root ip link add "$bridge" type bridge
  as_root ip address add "$network.1/25" dev "$bridge"
  as_root ip link set "$bridge" up
  as_root sysctl -qw net.ipv4.ip_forward=1
  rules -I
  cat >"$folder/daemon.json" <<JSON
{"data-root": "$folder/data", "exec-root": "$folder/exec", "pidfile": "$folder/pid", "hosts": ["unix://$folder/socket"],
 $(is_root || echo "\"group\": \"$(id -gn)\",") "bridge": "$bridge", "iptables": false, "ip6tables": false,
 "default-address-pools": [{"base": "$network.128/25", "size": 28}]}
JSON
  as_root env PATH="$folder/root/usr/bin:$folder/root/usr/sbin:$PATH" setsid --fork dockerd --config-file "$folder/daemon.json" \
    >"$folder/log" 2>&1 </dev/null
  for _ in $(seq 150); do
    if answers; then return; fi
    sleep 0.2
  done
  tail -n 15 "$folder/log" >&2
  die "Docker 26.1 does not start." "See $folder/log."
}

fetch
down
trap down EXIT
up
say "Tests: engine, on Docker $(docker -H "unix://$folder/socket" version --format '{{.Server.Version}}')"
export DOCKER_HOST=unix://$folder/socket PATH="$folder/root/usr/bin:$folder/root/usr/sbin:$PATH"
if [ $# = 0 ]; then scripts/test.sh engine; else .venv/bin/python -m pytest "$@"; fi
