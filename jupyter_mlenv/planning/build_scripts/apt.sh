# apt.sh PACKAGE...: Debian packages without recommendations; what is downloaded stays in the cache mount.
set -eu
kit=$(dirname "$0")
export DEBIAN_FRONTEND=noninteractive
if [ -f "$kit/env.sh" ]; then . "$kit/env.sh"; fi
case ${ftp_proxy-} in mlenv:*) eval "$(printf %s "${ftp_proxy#mlenv:}" | base64 -d)"; unset ftp_proxy ;; esac
if ! command -v apt-get >/dev/null; then
    echo "mlenv: the base image has no apt-get, cannot install: $*" >&2
    exit 1
fi
set -- -y -qq --no-install-recommends \
    -o APT::Keep-Downloaded-Packages=true -o DPkg::Post-Invoke= -o APT::Update::Post-Invoke= \
    ${SSL_CERT_FILE:+-o Acquire::https::CaInfo="$SSL_CERT_FILE"} install "$@"
apt-get -qq ${SSL_CERT_FILE:+-o Acquire::https::CaInfo="$SSL_CERT_FILE"} update
apt-get "$@"
