"""Certificates, proxies and the package index of builds and environments."""

from __future__ import annotations

import os

from traitlets import Bool, Dict, List, Unicode, default
from traitlets.config import LoggingConfigurable

from .. import host_defaults


class AccessTraits(LoggingConfigurable):
    """Certificates, proxies and the package index of builds and environments."""

    ca_bundle = Unicode(
        help="""PEM file with the certificates that builds and environments trust, as behind a corporate proxy.
        Default: SSL_CERT_FILE, REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE, else this system's bundle. Empty: the
        image's own certificates.

        Example: `c.MlenvConfig.ca_bundle = "/etc/ssl/certs/corporate.pem"`"""
    ).tag(config=True)

    @default("ca_bundle")
    def _ca_bundle_default(self) -> str:
        return host_defaults.ca_bundle(os.environ)

    pass_proxies = Bool(
        True,
        help="""Whether the proxy settings reach builds and environments.

        Example: `c.MlenvConfig.pass_proxies = False`""",
    ).tag(config=True)

    proxies = Dict(
        value_trait=Unicode(),
        key_trait=Unicode(),
        help="""Proxy settings by variable name. A password in one can be read by whatever runs in an
        environment. Default: `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy` of this process's
        environment, in either case.

        Example: `c.MlenvConfig.proxies = {"https_proxy": "http://proxy.example.com:3128"}`""",
    ).tag(config=True)

    @default("proxies")
    def _proxies_default(self) -> dict[str, str]:
        return host_defaults.proxies(os.environ)

    pass_pip_settings = Bool(
        True,
        help="""Whether the CA bundle and the package index settings reach environments too, so that `%pip install`
        works there as on this machine. A password in an index's address can be read by whatever runs in an
        environment. Builds of presets without a Dockerfile have these settings in any case; an own
        Dockerfile gets the proxies and nothing else.

        Example: `c.MlenvConfig.pass_pip_settings = False`""",
    ).tag(config=True)

    pip_index_url = Unicode(
        help="""The package index of builds and environments. Default: PIP_INDEX_URL, UV_DEFAULT_INDEX,
        UV_INDEX_URL or pip's configuration. Empty: PyPI.

        Example: `c.MlenvConfig.pip_index_url = "https://pypi.example.com/simple"`"""
    ).tag(config=True)

    @default("pip_index_url")
    def _pip_index_url_default(self) -> str:
        return next(iter(self._pip("index")), "")

    pip_extra_index_urls = List(
        Unicode(),
        help="""Further package indexes of builds and environments. Default: PIP_EXTRA_INDEX_URL, UV_INDEX,
        UV_EXTRA_INDEX_URL or pip's configuration, without addresses of files.

        Example: `c.MlenvConfig.pip_extra_index_urls = ["https://wheels.example.com/simple"]`""",
    ).tag(config=True)

    @default("pip_extra_index_urls")
    def _pip_extra_index_urls_default(self) -> list[str]:
        return self._pip("extra")

    pip_trusted_hosts = List(
        Unicode(),
        help="""Hosts whose certificates pip and uv do not check in builds and environments. Default:
        PIP_TRUSTED_HOST or pip's configuration.

        Example: `c.MlenvConfig.pip_trusted_hosts = ["pypi.example.com"]`""",
    ).tag(config=True)

    @default("pip_trusted_hosts")
    def _pip_trusted_hosts_default(self) -> list[str]:
        return self._pip("trusted")

    pip_find_links = List(
        Unicode(),
        help="""Pages with links to packages, for builds and environments. Default: PIP_FIND_LINKS, UV_FIND_LINKS
        or pip's configuration, without directories of this machine, which do not exist there.

        Example: `c.MlenvConfig.pip_find_links = ["https://wheels.example.com/index.html"]`""",
    ).tag(config=True)

    @default("pip_find_links")
    def _pip_find_links_default(self) -> list[str]:
        return self._pip("links")

    def _pip(self, what: str) -> list[str]:
        return host_defaults.pip_settings(os.environ, host_defaults.pip_config(os.environ))[what]
