#!/usr/bin/env bash
# What the tests need beside Python packages: debootstrap, a registry, a browser and the base image.
source "$(dirname "$0")/lib.sh"

# Installing the registry's package also starts it on port 5000; the tests start one of their own.
new_registry=$(not_installed docker-registry)
# libatomic1 is for the Node that playwright brings.
install "The tests" debootstrap debian-archive-keyring docker-registry util-linux iproute2 libatomic1 \
  rootlesskit slirp4netns uidmap
if [ -n "$new_registry" ] && [ -d /run/systemd/system ]; then as_root systemctl disable --now docker-registry; fi

command -v docker >/dev/null || install "The tests" docker-cli

# docker's own way of reading a context, beside which ours is put. Debian 12 has none that is current.
if ! docker buildx version >/dev/null 2>&1 && [ ! -x .cache/buildx/cli-plugins/docker-buildx ]; then
  apt_lists
  if available docker-buildx; then
    install "The tests" docker-buildx
  else
    say "The tests: getting docker buildx from Debian 13"
    unpack_debian13 "$PWD/.cache/buildx" docker-buildx
    mkdir -p .cache/buildx/cli-plugins
    cp .cache/buildx/root/usr/libexec/docker/cli-plugins/docker-buildx .cache/buildx/cli-plugins/
  fi
fi

if [ -z "${MLENV_TEST_BROWSER:-}" ] && ! command -v chromium >/dev/null; then
  apt_lists
  if available chromium; then
    install "The browser tests" chromium fonts-liberation
  else
    # Ubuntu has Chromium only as a snap, which needs its own service; playwright brings one that does not.
    say "The browser tests: getting playwright's Chromium"
    .venv/bin/playwright install --with-deps chromium
  fi
fi

# Made here and once, not by the first test that wants it: only root can, and the browser's tests reach no mirror.
say "The base image of the tests"
as_root env "DOCKER_HOST=${DOCKER_HOST:-}" .venv/bin/python -m jupyter_mlenv.cli base
