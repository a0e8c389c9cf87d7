# install.sh PYTHON [uv options and packages]: puts packages into PYTHON's environment and compiles them.
# Runs as root inside a build; never part of a layer with BuildKit.
set -eu
kit=$(dirname "$0")
umask 022
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export HOME="$scratch" TMPDIR="$scratch"
if [ -f "$kit/env.sh" ]; then . "$kit/env.sh"; fi
# Where nothing can be mounted, what may be secret comes in an argument that the builder keeps nowhere.
case ${ftp_proxy-} in mlenv:*) eval "$(printf %s "${ftp_proxy#mlenv:}" | base64 -d)"; unset ftp_proxy ;; esac

if ! command -v "$1" >/dev/null; then
    [ "$1" = python3 ] || { echo "mlenv: the base image has no $1" >&2; exit 1; }
    echo "mlenv: the base image has no python3, installing the distribution's"
    sh "$kit/apt.sh" python3 python3-pip python3-venv
fi
python=$(command -v "$1")
shift
if [ "${1-}" = --mlenv-index ]; then
    shift
    set -- --index "${MLENV_INDEX-$(cat /dev/mlenv/index/url)}" --index-strategy unsafe-best-match "$@"
fi
if [ $# -eq 0 ]; then exit 0; fi

cache=$scratch/cache
[ ! -d /dev/mlenv/uv-cache ] || cache=/dev/mlenv/uv-cache

uv=$kit/uv
if ! "$uv" --version >/dev/null 2>&1; then
    echo "mlenv: no uv binary of the host fits this image, fetching one for this step"
    "$python" -m pip install --quiet --disable-pip-version-check --root-user-action ignore --target "$scratch/uv" uv
    uv=$scratch/uv/bin/uv
fi
UV_CACHE_DIR=$cache UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never UV_HTTP_TIMEOUT=180 UV_NO_PROGRESS=1 \
    "$uv" pip install --python "$python" --break-system-packages "$@"
"$python" "$kit/compile.py"
